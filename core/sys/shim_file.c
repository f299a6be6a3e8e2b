// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: files on mounted filesystems.
 */

#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>
#include <linux/statfs.h>

#include "shim.h"
#include "shim_file.h"

/* Devices and the like are not even opened, which may do something. */
static struct file *open_existing(const char *name, int flags)
{
	struct path path;
	struct file *file;
	int ret;

	ret = kern_path(name, 0, &path);
	if (ret)
		return ERR_PTR(ret);
	if (d_is_symlink(path.dentry))
		file = ERR_PTR(-ELOOP);
	else if (!d_is_reg(path.dentry))
		file = ERR_PTR(-EINVAL);
	else
		file = dentry_open(&path, flags, current_cred());
	path_put(&path);
	return file;
}

/**
 * dormouse_file_open - Open a file.
 * @path: Its path, as the calling task sees it.
 * @how: To read it, to write it too, or to make it.
 *
 * Does not follow a symbolic link at the end of the path.
 *
 * Context: Process context. May sleep.
 * Return: The file or an ERR_PTR(); -EEXIST if one is there that was to be made,
 * -ELOOP for a symbolic link, -EINVAL for what else is not an ordinary file.
 */
struct dormouse_file *dormouse_file_open(const char *path, enum dormouse_file_how how)
{
	struct dormouse_file *f;
	struct file *file;

	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return ERR_PTR(-ENOMEM);
	if (how == DORMOUSE_FILE_CREATE)
		file = filp_open(path, O_RDWR | O_LARGEFILE | O_CREAT | O_EXCL, 0600);
	else if (how == DORMOUSE_FILE_WRITE)
		file = open_existing(path, O_RDWR | O_LARGEFILE);
	else
		file = open_existing(path, O_RDONLY | O_LARGEFILE);
	if (IS_ERR(file)) {
		kfree(f);
		return ERR_CAST(file);
	}
	f->file = file;
	return f;
}

static u32 attribute_flags(struct file *file)
{
	struct fileattr fa = {};
	u32 flags = 0;

	/* A filesystem without such attributes has none of these, either. */
	if (vfs_fileattr_get(file->f_path.dentry, &fa))
		return 0;
	if (fa.flags & FS_COMPR_FL)
		flags |= DORMOUSE_FILE_COMPRESSED;
	if (fa.flags & FS_JOURNAL_DATA_FL)
		flags |= DORMOUSE_FILE_JOURNALED;
	if (fa.flags & FS_NOCOW_FL)
		flags |= DORMOUSE_FILE_NOCOW;
	if (fa.flags & FS_INLINE_DATA_FL)
		flags |= DORMOUSE_FILE_INLINE;
	return flags;
}

/*
 * By the file's own flag, or by how ext4 is mounted (data=journal), which only
 * shows in that such a file takes no direct I/O. Its own reasons for that are
 * this, and others that have flags of their own.
 */
static bool is_journaled(struct file *file)
{
	struct inode *inode = file_inode(file);
	struct kstat st;

	if (inode->i_sb->s_magic != EXT4_SUPER_MAGIC || IS_ENCRYPTED(inode) || IS_VERITY(inode))
		return false;
	if (vfs_getattr_nosec(&file->f_path, &st, STATX_DIOALIGN, AT_STATX_SYNC_AS_STAT))
		return false;
	return (st.result_mask & STATX_DIOALIGN) && !st.dio_offset_align;
}

/**
 * dormouse_file_describe - Say what a file is.
 * @f: The file.
 * @info: Becomes the description.
 *
 * Context: Process context. May sleep.
 */
void dormouse_file_describe(const struct dormouse_file *f, struct dormouse_file_info *info)
{
	struct inode *inode = dormouse_file_inode(f);
	struct super_block *sb = inode->i_sb;

	memset(info, 0, sizeof(*info));
	strscpy(info->fs, sb->s_type->name, sizeof(info->fs));
	info->bytes = i_size_read(inode);
	info->block_bytes = 1U << inode->i_blkbits;
	if (sb->s_magic == EXT4_SUPER_MAGIC || sb->s_magic == XFS_SUPER_MAGIC ||
	    sb->s_magic == BTRFS_SUPER_MAGIC)
		info->flags |= DORMOUSE_FILE_KNOWN_FS;
	if (IS_ENCRYPTED(inode))
		info->flags |= DORMOUSE_FILE_ENCRYPTED;
	if (IS_VERITY(inode) || IS_IMMUTABLE(inode) || sb_rdonly(sb) ||
	    __mnt_is_readonly(f->file->f_path.mnt))
		info->flags |= DORMOUSE_FILE_READ_ONLY;
	if (IS_DAX(inode))
		info->flags |= DORMOUSE_FILE_DAX;
	if (IS_SWAPFILE(inode))
		info->flags |= DORMOUSE_FILE_IN_USE;
	if (d_unlinked(f->file->f_path.dentry))
		info->flags |= DORMOUSE_FILE_UNLINKED;
	if (sb->s_bdev && bdev_read_only(sb->s_bdev))
		info->flags |= DORMOUSE_FILE_READ_ONLY;
	info->flags |= attribute_flags(f->file);
	if (!(info->flags & DORMOUSE_FILE_INLINE) && is_journaled(f->file))
		info->flags |= DORMOUSE_FILE_JOURNALED;
}

/* The number of the device that btrfs has named a filesystem after, or 0. */
static u32 dev_of_btrfs(const struct super_block *sb)
{
	struct class_dev_iter iter;
	struct device *device;
	u32 found = 0;

	class_dev_iter_init(&iter, &block_class, NULL, NULL);
	while (!found && (device = class_dev_iter_next(&iter))) {
		struct block_device *bdev = dev_to_bdev(device);
		char name[sizeof(sb->s_id)];

		snprintf(name, sizeof(name), "%pg", bdev);
		if (!strcmp(name, sb->s_id))
			found = bdev->bd_dev;
	}
	class_dev_iter_exit(&iter);
	return found;
}

/**
 * dormouse_file_dev - Find the block device that a file is on.
 * @f: The file.
 *
 * Context: Process context. May sleep.
 * Return: Its number, that of one of them if there are several, or 0.
 */
u32 dormouse_file_dev(const struct dormouse_file *f)
{
	const struct super_block *sb = dormouse_file_inode(f)->i_sb;

	if (sb->s_bdev)
		return sb->s_bdev->bd_dev;
	/* It may have several devices, so it has none in the usual place. */
	return sb->s_magic == BTRFS_SUPER_MAGIC ? dev_of_btrfs(sb) : 0;
}

/**
 * dormouse_file_is_open_for_write - Find out if others may write a file.
 * @f: The file, itself opened to be written.
 *
 * Context: Any.
 * Return: True if somebody else has it open for that.
 */
bool dormouse_file_is_open_for_write(const struct dormouse_file *f)
{
	return atomic_read(&dormouse_file_inode(f)->i_writecount) > 1;
}

/**
 * dormouse_file_read - Read from a file.
 * @f: The file.
 * @pos: Where, in bytes.
 * @data: Where to put the data.
 * @len: How many bytes.
 *
 * Context: Process context. May sleep.
 * Return: How many bytes there were, or a negative error code.
 */
s64 dormouse_file_read(const struct dormouse_file *f, u64 pos, void *data, size_t len)
{
	loff_t at = pos;
	size_t done = 0;

	while (done < len) {
		ssize_t got = kernel_read(f->file, data + done, len - done, &at);

		if (got < 0)
			return got;
		if (!got)
			break;
		done += got;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return done;
}

/**
 * dormouse_file_write - Write to a file.
 * @f: The file.
 * @pos: Where, in bytes.
 * @data: The data.
 * @len: How many bytes.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code.
 */
int dormouse_file_write(const struct dormouse_file *f, u64 pos, const void *data, size_t len)
{
	loff_t at = pos;
	size_t done = 0;

	while (done < len) {
		ssize_t put = kernel_write(f->file, data + done, len - done, &at);

		if (put < 0)
			return put;
		if (!put)
			return -EIO;
		done += put;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Data that is copied on write would not stay where it is. */
static int set_no_cow(struct file *file)
{
	struct fileattr fa = {};
	int ret;

	if (file_inode(file)->i_sb->s_magic != BTRFS_SUPER_MAGIC)
		return 0;
	ret = vfs_fileattr_get(file->f_path.dentry, &fa);
	if (ret)
		return ret;
	fileattr_fill_flags(&fa, (fa.flags & ~(FS_COMPR_FL | FS_NOCOMP_FL)) | FS_NOCOW_FL);
	ret = mnt_want_write_file(file);
	if (ret)
		return ret;
	ret = vfs_fileattr_set(file_mnt_idmap(file), file->f_path.dentry, &fa);
	mnt_drop_write_file(file);
	return ret;
}

/**
 * dormouse_file_allocate - Find room for a new file.
 * @f: The file, which is empty.
 * @bytes: Its size to be.
 *
 * The blocks follow each other as far as the filesystem finds such; they still
 * have to be written.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code, -ENOSPC if the filesystem is too full.
 */
int dormouse_file_allocate(const struct dormouse_file *f, u64 bytes)
{
	struct kstatfs st;
	int ret;

	ret = vfs_statfs(&f->file->f_path, &st);
	if (ret)
		return ret;
	if (st.f_bsize > 0 && bytes / st.f_bsize >= st.f_bavail)
		return -ENOSPC;
	ret = set_no_cow(f->file);
	if (ret)
		return ret;
	ret = vfs_fallocate(f->file, 0, 0, bytes);
	return ret == -EOPNOTSUPP ? 0 : ret;
}

/**
 * dormouse_file_sync - Write everything of a file to the medium.
 * @f: The file.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code.
 */
int dormouse_file_sync(const struct dormouse_file *f)
{
	return vfs_fsync(f->file, 0);
}

/**
 * dormouse_file_remove - Take the name of a file that was made off its folder.
 * @f: The file.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code.
 */
int dormouse_file_remove(const struct dormouse_file *f)
{
	struct dentry *dentry = f->file->f_path.dentry;
	struct dentry *folder;
	int ret;

	ret = mnt_want_write_file(f->file);
	if (ret)
		return ret;
	/* With the file as its only user the name would take the inode along. */
	dget(dentry);
	folder = dget_parent(dentry);
	inode_lock_nested(d_inode(folder), I_MUTEX_PARENT);
	ret = -ENOENT;
	if (dentry->d_parent == folder && !d_unlinked(dentry))
		ret = vfs_unlink(file_mnt_idmap(f->file), d_inode(folder), dentry, NULL);
	inode_unlock(d_inode(folder));
	dput(folder);
	dput(dentry);
	mnt_drop_write_file(f->file);
	return ret;
}
