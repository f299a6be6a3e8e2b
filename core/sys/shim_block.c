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
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "shim.h"
#include "shim_block.h"

/**
 * struct dormouse_bio - A part of a request.
 * @buf: The buffer whose request this is part of, or NULL.
 * @file: Keeps the device open until the part is over.
 * @bio: The part itself, last because its size varies.
 */
struct dormouse_bio {
	struct dormouse_iobuf *buf;
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

/* What was written here to devices that somebody counts. */
static struct {
	u32 dev;
	atomic64_t sectors;
} counted[DORMOUSE_COUNTED_MAX];
static unsigned int counted_used;

/**
 * dormouse_count_own - Count what is written here to some devices.
 * @devs: Their numbers, in place of those that were counted before.
 * @count: How many there are, at most DORMOUSE_COUNTED_MAX.
 *
 * Context: Process context; no write may be under way.
 */
void dormouse_count_own(const u32 *devs, u32 count)
{
	unsigned int i;

	count = min_t(u32, count, DORMOUSE_COUNTED_MAX);
	WRITE_ONCE(counted_used, 0);
	for (i = 0; i < count; i++) {
		counted[i].dev = devs[i];
		atomic64_set(&counted[i].sectors, 0);
	}
	/* Pairs with own_written() and add_own(): they see the devices. */
	smp_store_release(&counted_used, count);
}

/**
 * dormouse_own_written - Tell how much was written here to a device.
 * @dev: Its number.
 *
 * Context: Any.
 * Return: Sectors since dormouse_count_own(), begun or complete; 0 for a device
 * that is not counted.
 */
u64 dormouse_own_written(u32 dev)
{
	/* Pairs with dormouse_count_own(). */
	unsigned int i, count = smp_load_acquire(&counted_used);

	for (i = 0; i < count; i++)
		if (counted[i].dev == dev)
			return atomic64_read(&counted[i].sectors);
	return 0;
}

static void add_own(const struct block_device *bdev, size_t len)
{
	/* Pairs with dormouse_count_own(). */
	unsigned int i, count = smp_load_acquire(&counted_used);

	for (i = 0; i < count; i++)
		if (counted[i].dev == bdev->bd_dev)
			atomic64_add(len >> SECTOR_SHIFT, &counted[i].sectors);
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

	handle = kzalloc(sizeof(*handle), GFP_KERNEL);
	if (!handle)
		return ERR_PTR(-ENOMEM);

	file = bdev_file_open_by_dev(dev, BLK_OPEN_READ | (write ? BLK_OPEN_WRITE : 0),
				     exclusive ? handle : NULL, NULL);
	if (IS_ERR(file)) {
		kfree(handle);
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

	handle = kzalloc(sizeof(*handle), GFP_KERNEL);
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
 * dormouse_bdev_list - List the block devices that have something in them.
 * @devs: Becomes the list of their numbers.
 * @count: Length of @devs.
 *
 * Not loop devices: they stand still while kernel threads are frozen.
 *
 * Context: Process context. May sleep.
 * Return: How many there are, which may be more than @count.
 */
u32 dormouse_bdev_list(u32 *devs, u32 count)
{
	struct class_dev_iter iter;
	struct device *device;
	u32 used = 0;

	class_dev_iter_init(&iter, &block_class, NULL, NULL);
	while ((device = class_dev_iter_next(&iter))) {
		struct block_device *bdev = dev_to_bdev(device);

		if (!bdev_nr_sectors(bdev) || (bdev->bd_disk->flags & GENHD_FL_HIDDEN))
			continue;
		if (MAJOR(bdev->bd_dev) == LOOP_MAJOR)
			continue;
		if (used < count)
			devs[used] = bdev->bd_dev;
		used++;
	}
	class_dev_iter_exit(&iter);
	return used;
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
	kfree(dev);
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

static int check_range(const struct dormouse_bdev *dev, u64 offset, const void *data,
		       size_t len, bool write)
{
	u64 size = dormouse_bdev_bytes(dev);
	u32 mask = dormouse_bdev_block_bytes(dev) - 1;

	if (!len || (offset & mask) || (len & mask))
		return -EINVAL;
	if ((unsigned long)data & bdev_dma_alignment(dev->bdev))
		return -EINVAL;
	/* Neither of the two: no page to give to a device. */
	if (!is_vmalloc_addr(data) && !virt_addr_valid(data))
		return -EINVAL;
	if (offset > size || len > size - offset)
		return -ENXIO;
	if (write && (!dev->write || dormouse_bdev_read_only(dev)))
		return -EROFS;
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
 * dormouse_bdev_rw - Read or write and wait for it.
 * @dev: The device.
 * @offset: Where on the device, in bytes; a multiple of its block size.
 * @data: Linear or vmalloc()ed memory, aligned to 512 bytes.
 * @len: Length in bytes, a multiple of the block size.
 * @write: True to write.
 * @durable: True if all earlier completed writes and this one have to be on
 *	the medium before it returns.
 *
 * Context: Process context. May sleep.
 * Return: 0, -EINVAL for what is not aligned or not such memory, -ENXIO beyond
 * the end of the device, -EROFS, or the error of the device.
 */
int dormouse_bdev_rw(const struct dormouse_bdev *dev, u64 offset, void *data,
		     size_t len, bool write, bool durable)
{
	blk_opf_t opf = opf_of(write) | (durable ? REQ_PREFLUSH | REQ_FUA : 0);
	size_t done = 0;
	int ret;

	ret = check_range(dev, offset, data, len, write);
	while (!ret && done < len) {
		size_t part = min_t(size_t, len - done, SZ_1M);
		struct bio *bio;

		bio = make_bio(dev, offset + done, data + done, &part, opf);
		if (write)
			add_own(dev->bdev, part);
		ret = part ? submit_bio_wait(bio) : -EIO;
		bio_put(bio);
		done += part;
	}
	/* Let readers of the device node see what was written, as far as known. */
	if (write && done)
		invalidate_mapping_pages(dev->bdev->bd_mapping, offset >> PAGE_SHIFT,
					 (offset + done - 1) >> PAGE_SHIFT);
	return ret;
}

/* A read that nobody may wait for any more when it is over. */
struct late_read {
	struct completion over;
	refcount_t users;
	struct page *page;
	struct bio_vec vec;
	struct bio bio;
};

static void put_late_read(struct late_read *read)
{
	if (!refcount_dec_and_test(&read->users))
		return;
	bio_uninit(&read->bio);
	__free_page(read->page);
	kfree(read);
}

static void end_late_read(struct bio *bio)
{
	struct late_read *read = container_of(bio, struct late_read, bio);

	complete(&read->over);
	put_late_read(read);
}

/**
 * dormouse_bdev_read_within - Read, but do not wait for ever.
 * @dev: The device.
 * @offset: Where on the device, in bytes; a multiple of its block size.
 * @data: Aligned to 512 bytes.
 * @len: Length in bytes, a multiple of the block size and at most a page.
 * @timeout_ms: How long to wait.
 *
 * For devices of others: while tasks are frozen one may stand still, because
 * what serves it is frozen as well.
 *
 * Context: Process context. May sleep.
 * Return: 0, -ETIMEDOUT, -ENOMEM, or as dormouse_bdev_rw().
 */
int dormouse_bdev_read_within(const struct dormouse_bdev *dev, u64 offset, void *data,
			      size_t len, u32 timeout_ms)
{
	struct late_read *read;
	int ret;

	ret = check_range(dev, offset, data, len, false);
	if (ret || len > PAGE_SIZE)
		return ret ?: -EINVAL;
	read = kzalloc(sizeof(*read), GFP_NOIO);
	if (!read)
		return -ENOMEM;
	read->page = alloc_page(GFP_NOIO);
	if (!read->page) {
		kfree(read);
		return -ENOMEM;
	}
	init_completion(&read->over);
	refcount_set(&read->users, 2);
	bio_init(&read->bio, dev->bdev, &read->vec, 1, opf_of(false));
	read->bio.bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	read->bio.bi_end_io = end_late_read;
	__bio_add_page(&read->bio, read->page, len, 0);
	submit_bio(&read->bio);
	if (!wait_for_completion_io_timeout(&read->over, msecs_to_jiffies(timeout_ms))) {
		ret = -ETIMEDOUT;
	} else {
		ret = blk_status_to_errno(read->bio.bi_status);
		if (!ret)
			memcpy(data, page_address(read->page), len);
	}
	put_late_read(read);
	return ret;
}

/**
 * dormouse_bdev_flush - Wait until all completed writes are on the medium.
 * @dev: The device.
 *
 * Context: Process context. May sleep.
 * Return: 0 or the error of the device.
 */
int dormouse_bdev_flush(const struct dormouse_bdev *dev)
{
	return blkdev_issue_flush(dev->bdev);
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
	struct file *file = part->file;
	int error = blk_status_to_errno(bio->bi_status);

	bio_put(bio);
	fput(file);
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
 * Context: Process context. May sleep, but not for memory that needs I/O.
 * Return: 0, or as dormouse_bdev_rw() for a part that cannot be started.
 */
int dormouse_request_piece(struct dormouse_iobuf *buf, const struct dormouse_bdev *dev,
			   u64 offset, size_t from, size_t len, bool write)
{
	void *data = buf->data + from;
	int ret;

	if (from > buf->capacity || len > buf->capacity - from)
		return -EINVAL;
	ret = check_range(dev, offset, data, len, write);
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
		bio->bi_end_io = request_end_io;
		atomic_inc(&buf->pending);
		if (write)
			add_own(dev->bdev, size);
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
