// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: files whose blocks stay where they are.
 *
 * A file is pinned in the way of swapon: the filesystem itself resolves the
 * extents in its swap_activate(), which refuses whatever it cannot promise to
 * leave in place, and S_SWAPFILE keeps everybody from changing the file.
 */

#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "shim.h"
#include "shim_block.h"
#include "shim_file.h"

static void free_map(struct swap_info_struct *map)
{
	struct rb_node *node;

	while ((node = rb_first(&map->swap_extent_root))) {
		rb_erase(node, &map->swap_extent_root);
		kfree(rb_entry(node, struct swap_extent, rb_node));
	}
	kfree(map);
}

/* The inode is locked. */
static int activate(struct file *file, struct swap_info_struct *map)
{
	struct address_space *mapping = file->f_mapping;
	struct inode *inode = mapping->host;
	sector_t span;
	int ret;

	if (d_unlinked(file->f_path.dentry))
		return -ENOENT;
	if (IS_SWAPFILE(inode))
		return -EBUSY;
	ret = mapping->a_ops->swap_activate(map, file, &span);
	if (ret < 0)
		return ret;
	ret = -EOPNOTSUPP;
	/* Through the filesystem there is no way while tasks are frozen. */
	if (map->bdev && !(map->flags & SWP_FS_OPS)) {
		inode->i_flags |= S_SWAPFILE;
		ret = inode_drain_writes(inode);
		if (!ret)
			return 0;
		inode->i_flags &= ~S_SWAPFILE;
	}
	if (mapping->a_ops->swap_deactivate)
		mapping->a_ops->swap_deactivate(file);
	return ret;
}

/**
 * dormouse_file_pin - Keep a file's blocks where they are.
 * @f: The file.
 *
 * From then on nobody can write, cut, move or remove the file, and the
 * filesystem moves none of its blocks.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code: -ETXTBSY if somebody writes the file,
 * -ENODATA if not all of it was written, -EBUSY if it is pinned or swap space,
 * -EOPNOTSUPP if the filesystem has no such promise to give, and whatever it
 * says if it cannot give it for this file, in general -EINVAL.
 */
int dormouse_file_pin(struct dormouse_file *f)
{
	struct address_space *mapping = f->file->f_mapping;
	struct inode *inode = mapping->host;
	struct swap_info_struct *map;
	loff_t size, hole;
	int ret;

	if (f->map)
		return -EBUSY;
	if (!mapping->a_ops->swap_activate)
		return -EOPNOTSUPP;
	if (!f->denied) {
		ret = deny_write_access(f->file);
		if (ret)
			return ret;
		f->denied = true;
	}

	/* What is not in memory can be told apart from what was never written. */
	ret = vfs_fsync(f->file, 0);
	if (!ret)
		ret = invalidate_inode_pages2(mapping);
	if (ret)
		return ret;
	size = i_size_read(inode);
	hole = vfs_llseek(f->file, 0, SEEK_HOLE);
	if (hole < 0)
		return hole;
	if (hole < size)
		return -ENODATA;

	map = kzalloc(struct_size(map, avail_lists, nr_node_ids), GFP_KERNEL);
	if (!map)
		return -ENOMEM;
	map->swap_extent_root = RB_ROOT;
	map->swap_file = f->file;
	map->bdev = inode->i_sb->s_bdev;
	map->max = min_t(u64, size >> PAGE_SHIFT, UINT_MAX);
	inode_lock(inode);
	ret = activate(f->file, map);
	inode_unlock(inode);
	if (ret) {
		free_map(map);
		return ret;
	}
	f->map = map;
	return 0;
}

/**
 * dormouse_file_extents - List where the blocks of a pinned file are.
 * @f: The file.
 * @extents: Becomes the list, in the order of the file.
 * @extent_count: Length of @extents.
 *
 * Context: Process context. May sleep.
 * Return: How many there are, which may be more than @extent_count.
 */
u64 dormouse_file_extents(const struct dormouse_file *f, struct dormouse_file_extent *extents,
			  u64 extent_count)
{
	struct rb_node *node;
	u64 used = 0;

	if (!f->map)
		return 0;
	for (node = rb_first(&f->map->swap_extent_root); node; node = rb_next(node)) {
		struct swap_extent *se = rb_entry(node, struct swap_extent, rb_node);

		if (used < extent_count) {
			extents[used].page = se->start_page;
			extents[used].block = se->start_block;
			extents[used].count = se->nr_pages;
		}
		used++;
		cond_resched();
	}
	return used;
}

static int verify_page(struct inode *inode, u64 page, u64 block)
{
	unsigned int shift = inode->i_blkbits - PAGE_SHIFT;
	sector_t at = page >> shift;
	int ret = bmap(inode, &at);

	if (ret)
		return ret;
	return at == block >> shift ? 0 : -ESTALE;
}

/**
 * dormouse_file_verify - Check that a pinned file is where it was.
 * @f: The file, of blocks that are not smaller than a page.
 *
 * Asks filesystems that answer, at both ends of each extent. The others (btrfs)
 * have made a promise that has nothing to do with ours.
 *
 * Context: Process context. May sleep.
 * Return: 0, -ESTALE if it is not, or another negative error code.
 */
int dormouse_file_verify(const struct dormouse_file *f)
{
	struct inode *inode = dormouse_file_inode(f);
	struct rb_node *node;
	int ret = 0;

	if (!f->map || !IS_SWAPFILE(inode) || i_size_read(inode) >> PAGE_SHIFT != f->map->max)
		return -ESTALE;
	if (!inode->i_mapping->a_ops->bmap || inode->i_blkbits < PAGE_SHIFT)
		return 0;
	for (node = rb_first(&f->map->swap_extent_root); node && !ret; node = rb_next(node)) {
		struct swap_extent *se = rb_entry(node, struct swap_extent, rb_node);
		u64 last = se->nr_pages - 1;

		ret = verify_page(inode, se->start_page, se->start_block);
		if (!ret)
			ret = verify_page(inode, se->start_page + last, se->start_block + last);
		cond_resched();
	}
	return ret;
}

/**
 * dormouse_file_forget - Drop what is in memory of a pinned file.
 * @f: The file.
 *
 * Its blocks are written behind the filesystem's back; nothing in memory is
 * newer than the medium, as nobody can have changed it.
 *
 * Context: Process context. May sleep.
 * Return: 0, or -EBUSY if something is in use.
 */
int dormouse_file_forget(const struct dormouse_file *f)
{
	return invalidate_inode_pages2(f->file->f_mapping);
}

/**
 * dormouse_file_bdev - Use the block device that a pinned file is on.
 * @f: The file.
 *
 * Context: Process context. May sleep.
 * Return: The device, to be closed, or an ERR_PTR().
 */
struct dormouse_bdev *dormouse_file_bdev(const struct dormouse_file *f)
{
	if (!f->map)
		return ERR_PTR(-EINVAL);
	return dormouse_bdev_borrow(f->file, f->map->bdev);
}

/**
 * dormouse_file_close - Let go of a file.
 * @f: The file. Nobody uses its blocks any more.
 *
 * Context: Process context. May sleep.
 */
void dormouse_file_close(struct dormouse_file *f)
{
	struct inode *inode = dormouse_file_inode(f);

	if (f->map) {
		const struct address_space_operations *ops = f->file->f_mapping->a_ops;

		/* Who reads it from now on shall see what the medium has. */
		invalidate_inode_pages2(f->file->f_mapping);
		if (ops->swap_deactivate)
			ops->swap_deactivate(f->file);
		inode_lock(inode);
		inode->i_flags &= ~S_SWAPFILE;
		inode_unlock(inode);
		free_map(f->map);
	}
	if (f->denied)
		allow_write_access(f->file);
	fput(f->file);
	kfree(f);
}
