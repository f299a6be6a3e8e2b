// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: block devices, and requests to them.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "shim.h"
#include "shim_block.h"

/**
 * struct dormouse_bio - A part of a request.
 * @buf: The buffer whose request this is part of.
 * @dev: The device, which may have been closed meanwhile.
 * @file: Keeps the device open until the part is over.
 * @bio: The part itself, last because its size varies.
 */
struct dormouse_bio {
	struct dormouse_iobuf *buf;
	struct dormouse_bdev *dev;
	struct file *file;
	struct bio bio;
};

/* Requests have their own reserve, so that they never wait for memory. */
static struct bio_set dormouse_bios;

static int __init dormouse_block_init(void)
{
	return bioset_init(&dormouse_bios, BIO_POOL_SIZE,
			   offsetof(struct dormouse_bio, bio), BIOSET_NEED_BVECS);
}
/* After the block layer has set up what bios are made of. */
fs_initcall(dormouse_block_init);

/**
 * dormouse_bdev_alloc - Allocate a handle of a block device.
 *
 * Context: Process context. May sleep.
 * Return: The handle, with one user, or NULL.
 */
struct dormouse_bdev *dormouse_bdev_alloc(void)
{
	struct dormouse_bdev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	/* Nothing is allocated later, when memory may be short. */
	dev->transfer.page = alloc_page(GFP_KERNEL);
	if (!dev->transfer.page) {
		kfree(dev);
		return NULL;
	}
	dormouse_transfer_init(dev);
	refcount_set(&dev->users, 1);
	return dev;
}

static void put_handle(struct dormouse_bdev *dev)
{
	if (!refcount_dec_and_test(&dev->users))
		return;
	__free_page(dev->transfer.page);
	kfree(dev);
}

/**
 * dormouse_bdev_begin - Count a request as under way.
 * @dev: The device.
 *
 * Context: Any.
 */
void dormouse_bdev_begin(struct dormouse_bdev *dev)
{
	refcount_inc(&dev->users);
	atomic_inc(&dev->pending);
}

/**
 * dormouse_bdev_end - Count a request as over.
 * @dev: The device, which must not be touched any more.
 *
 * Context: Any.
 */
void dormouse_bdev_end(struct dormouse_bdev *dev)
{
	atomic_dec(&dev->pending);
	put_handle(dev);
}

/**
 * dormouse_bdev_pending - Count the requests under way.
 * @dev: The device.
 *
 * Context: Any.
 * Return: How many of those that were begun here are not over.
 */
u32 dormouse_bdev_pending(const struct dormouse_bdev *dev)
{
	return atomic_read(&dev->pending);
}

/**
 * dormouse_bdev_open - Open a block device.
 * @dev: Its number.
 * @write: True if it is going to be written.
 * @exclusive: True if nobody else may hold it exclusively.
 *
 * Context: Process context. May sleep.
 * Return: The device or an ERR_PTR().
 */
struct dormouse_bdev *dormouse_bdev_open(u32 dev, bool write, bool exclusive)
{
	struct dormouse_bdev *handle;
	struct file *file;

	handle = dormouse_bdev_alloc();
	if (!handle)
		return ERR_PTR(-ENOMEM);

	file = bdev_file_open_by_dev(dev, BLK_OPEN_READ | (write ? BLK_OPEN_WRITE : 0),
				     exclusive ? handle : NULL, NULL);
	if (IS_ERR(file)) {
		put_handle(handle);
		return ERR_CAST(file);
	}
	handle->file = file;
	handle->bdev = file_bdev(file);
	handle->write = write;
	return handle;
}

/**
 * dormouse_bdev_borrow - Use the block device of a file that is in use.
 * @file: The file: a block device, or on a filesystem that is on @bdev.
 * @bdev: The block device.
 *
 * The file is kept open, so that the device stays.
 *
 * Context: Process context. May sleep.
 * Return: The device or an ERR_PTR().
 */
struct dormouse_bdev *dormouse_bdev_borrow(struct file *file, struct block_device *bdev)
{
	struct dormouse_bdev *handle;

	handle = dormouse_bdev_alloc();
	if (!handle)
		return ERR_PTR(-ENOMEM);
	handle->file = get_file(file);
	handle->bdev = bdev;
	handle->write = true;
	handle->borrowed = true;
	return handle;
}

/**
 * dormouse_bdev_lookup - Find the number of a block device.
 * @path: Path of its node.
 * @dev: Where to put the number.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code.
 */
int dormouse_bdev_lookup(const char *path, u32 *dev)
{
	return lookup_bdev(path, dev);
}

/**
 * dormouse_bdev_close - Close a block device.
 * @dev: The device. Requests to it may still be under way.
 *
 * Context: Process context. May sleep.
 */
void dormouse_bdev_close(struct dormouse_bdev *dev)
{
	if (dev->borrowed)
		fput(dev->file);
	else
		bdev_fput(dev->file);
	put_handle(dev);
}

/**
 * dormouse_bdev_dev - Get the number of a block device.
 * @dev: The device.
 *
 * Context: Any.
 * Return: The number.
 */
u32 dormouse_bdev_dev(const struct dormouse_bdev *dev)
{
	return dev->bdev->bd_dev;
}

/**
 * dormouse_bdev_bytes - Get the size of a block device.
 * @dev: The device.
 *
 * Context: Any.
 * Return: Bytes.
 */
u64 dormouse_bdev_bytes(const struct dormouse_bdev *dev)
{
	return bdev_nr_bytes(dev->bdev);
}

/**
 * dormouse_bdev_block_bytes - Get the smallest unit a device can address.
 * @dev: The device.
 *
 * Context: Any.
 * Return: Bytes, a power of two.
 */
u32 dormouse_bdev_block_bytes(const struct dormouse_bdev *dev)
{
	return bdev_logical_block_size(dev->bdev);
}

/**
 * dormouse_bdev_read_only - Find out if a device cannot be written.
 * @dev: The device.
 *
 * Context: Any.
 * Return: True if it cannot.
 */
bool dormouse_bdev_read_only(const struct dormouse_bdev *dev)
{
	return bdev_read_only(dev->bdev);
}

/**
 * dormouse_bdev_gone - Find out if a device was removed.
 * @dev: The device.
 *
 * Context: Any.
 * Return: True if nothing reaches it any more, even if the disk comes back.
 */
bool dormouse_bdev_gone(const struct dormouse_bdev *dev)
{
	return !disk_live(dev->bdev->bd_disk);
}

/**
 * dormouse_bdev_name - Get the kernel's name of a block device.
 * @dev: The device.
 * @name: Where to put the name, NUL-terminated.
 * @size: Room there.
 *
 * Context: Any.
 */
void dormouse_bdev_name(const struct dormouse_bdev *dev, char *name, size_t size)
{
	snprintf(name, size, "%pg", dev->bdev);
}

/**
 * dormouse_bdev_check - Check that a transfer is possible.
 * @dev: The device.
 * @offset: Where on the device, in bytes.
 * @len: Length in bytes.
 * @write: True to write.
 *
 * Context: Any.
 * Return: 0, -EINVAL for what is not a multiple of the device's block, -ENXIO
 * beyond its end, -EROFS.
 */
int dormouse_bdev_check(const struct dormouse_bdev *dev, u64 offset, size_t len, bool write)
{
	u64 size = dormouse_bdev_bytes(dev);
	u32 mask = dormouse_bdev_block_bytes(dev) - 1;

	if (!len || (offset & mask) || (len & mask))
		return -EINVAL;
	if (offset > size || len > size - offset)
		return -ENXIO;
	if (write && (!dev->write || dormouse_bdev_read_only(dev)))
		return -EROFS;
	return 0;
}

static int check_memory(const struct dormouse_bdev *dev, const void *data)
{
	if ((unsigned long)data & bdev_dma_alignment(dev->bdev))
		return -EINVAL;
	/* Neither of the two: no page to give to a device. */
	if (!is_vmalloc_addr(data) && !virt_addr_valid(data))
		return -EINVAL;
	return 0;
}

/* Adds what it can of the data to the bio; returns how many bytes. */
static size_t add_data(struct bio *bio, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		void *at = data + done;
		size_t part = len - done;
		struct page *page;

		if (is_vmalloc_addr(at)) {
			page = vmalloc_to_page(at);
			part = min(part, PAGE_SIZE - offset_in_page(at));
		} else {
			page = virt_to_page(at);
		}
		if (bio_add_page(bio, page, part, offset_in_page(at)) != part)
			break;
		done += part;
	}
	return done;
}

static struct bio *make_bio(const struct dormouse_bdev *dev, u64 offset, void *data,
			    size_t *len, blk_opf_t opf)
{
	unsigned short vecs = 1;
	struct bio *bio;

	if (is_vmalloc_addr(data))
		vecs = bio_max_segs(DIV_ROUND_UP(offset_in_page(data) + *len, PAGE_SIZE));

	/* Comes from the reserve if it has to, so it does not fail. */
	bio = bio_alloc_bioset(dev->bdev, vecs, opf, GFP_NOIO, &dormouse_bios);
	bio->bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	*len = add_data(bio, data, *len);
	return bio;
}

/* As of direct I/O: nobody shall be slowed down who waits for the result. */
static blk_opf_t opf_of(bool write)
{
	return write ? REQ_OP_WRITE | REQ_SYNC | REQ_IDLE : REQ_OP_READ | REQ_SYNC;
}

/**
 * dormouse_request_begin - Start a request that may have several parts.
 * @buf: The buffer it is about. It comes back when dormouse_request_end() has
 *	been called and all parts are over.
 *
 * Context: Any.
 */
void dormouse_request_begin(struct dormouse_iobuf *buf)
{
	buf->error = 0;
	atomic_set(&buf->pending, 1);
}

/* One of the parts is over, or there will be no further ones. */
static void request_put(struct dormouse_iobuf *buf, int error)
{
	if (error)
		cmpxchg(&buf->error, 0, error);
	if (atomic_dec_and_test(&buf->pending))
		dormouse_iobuf_return(buf, true, READ_ONCE(buf->error));
}

static void request_end_io(struct bio *bio)
{
	struct dormouse_bio *part = container_of(bio, struct dormouse_bio, bio);
	struct dormouse_iobuf *buf = part->buf;
	struct dormouse_bdev *dev = part->dev;
	struct file *file = part->file;
	int error = blk_status_to_errno(bio->bi_status);

	bio_put(bio);
	fput(file);
	dormouse_bdev_end(dev);
	request_put(buf, error);
}

/**
 * dormouse_request_piece - Add a part to a request and start it.
 * @buf: The buffer of the request.
 * @dev: The device; it may be closed before the part is over.
 * @offset: Where on the device, in bytes; a multiple of its block size.
 * @from: Where in the buffer, in bytes; a multiple of 512.
 * @len: Length in bytes, a multiple of the block size.
 * @write: True to write.
 *
 * Context: Process context. May sleep, but not for memory that needs I/O; for as
 * long as the device likes, if that takes no more requests.
 * Return: 0, or as dormouse_bdev_check() for a part that cannot be started;
 * -EINVAL for memory that cannot be given to the device.
 */
int dormouse_request_piece(struct dormouse_iobuf *buf, struct dormouse_bdev *dev,
			   u64 offset, size_t from, size_t len, bool write)
{
	void *data = buf->data + from;
	int ret;

	if (from > buf->capacity || len > buf->capacity - from)
		return -EINVAL;
	ret = dormouse_bdev_check(dev, offset, len, write) ?: check_memory(dev, data);
	if (ret)
		return ret;

	while (len) {
		size_t size = len;
		struct bio *bio = make_bio(dev, offset, data, &size, opf_of(write));
		struct dormouse_bio *part = container_of(bio, struct dormouse_bio, bio);

		if (!size) {
			bio_put(bio);
			return -EIO;
		}
		part->buf = buf;
		part->file = get_file(dev->file);
		part->dev = dev;
		dormouse_bdev_begin(dev);
		bio->bi_end_io = request_end_io;
		atomic_inc(&buf->pending);
		if (write)
			dormouse_count_write(dev->bdev, size);
		submit_bio(bio);

		data += size;
		offset += size;
		len -= size;
	}
	return 0;
}

/**
 * dormouse_request_end - Say that a request has no further parts.
 * @buf: The buffer, which must not be touched any more.
 * @error: 0, or a negative error code for the whole request.
 *
 * Context: Any but NMI.
 */
void dormouse_request_end(struct dormouse_iobuf *buf, int error)
{
	request_put(buf, error);
}
