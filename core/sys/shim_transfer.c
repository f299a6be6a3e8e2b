// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: transfers that are waited for, but not for ever.
 *
 * A device can stop without a word: a disk that died, a server that is gone, or
 * something below it that is frozen. What was asked of it may still be done
 * later, with the memory that it was given and at the place that it was told.
 * So the memory is the handle's own and stays until the device is done with it,
 * and the next transfer of the same handle waits for the one before: two writes
 * of the same sector have no order while both are under way.
 *
 * Even submitting a request may sleep until the device has room for it, so a
 * worker of the kernel does that.
 */

#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "shim.h"
#include "shim_block.h"

/**
 * enum transfer_state - What becomes of a transfer.
 * @TRANSFER_NONE: There is none.
 * @TRANSFER_WAITED: It is under way, and somebody waits for it.
 * @TRANSFER_LEFT: It is under way, and nobody waits for it any more.
 * @TRANSFER_OVER: It is over, and somebody will look at the result.
 */
enum transfer_state {
	TRANSFER_NONE,
	TRANSFER_WAITED,
	TRANSFER_LEFT,
	TRANSFER_OVER,
};

static void transfer_end_io(struct bio *bio)
{
	struct dormouse_bdev *dev = container_of(bio, struct dormouse_bdev, transfer.bio);
	struct dormouse_transfer *transfer = &dev->transfer;
	struct file *file = transfer->file;

	transfer->result = blk_status_to_errno(bio->bi_status);
	bio_uninit(bio);
	if (atomic_cmpxchg(&transfer->state, TRANSFER_WAITED, TRANSFER_OVER) == TRANSFER_WAITED)
		complete(&transfer->over);
	else
		atomic_set_release(&transfer->state, TRANSFER_NONE);
	fput(file);
	dormouse_bdev_end(dev);
}

static void submit_transfer(struct work_struct *work)
{
	struct dormouse_bdev *dev = container_of(work, struct dormouse_bdev, transfer.work);

	submit_bio(&dev->transfer.bio);
}

/**
 * dormouse_transfer_init - Set up the transfer of a handle.
 * @dev: The device.
 *
 * Context: Any.
 */
void dormouse_transfer_init(struct dormouse_bdev *dev)
{
	init_completion(&dev->transfer.over);
	INIT_WORK(&dev->transfer.work, submit_transfer);
}

static blk_opf_t opf_of(enum dormouse_transfer_op op)
{
	switch (op) {
	case DORMOUSE_READ:
		return REQ_OP_READ | REQ_SYNC;
	case DORMOUSE_WRITE:
		return REQ_OP_WRITE | REQ_SYNC | REQ_IDLE;
	case DORMOUSE_WRITE_DURABLY:
		return REQ_OP_WRITE | REQ_SYNC | REQ_IDLE | REQ_PREFLUSH | REQ_FUA;
	case DORMOUSE_FLUSH:
		break;
	}
	return REQ_OP_WRITE | REQ_PREFLUSH;
}

/**
 * dormouse_transfer_start - Start a transfer of one handle.
 * @dev: The device.
 * @op: What to do.
 * @offset: Where on the device, in bytes; a multiple of its block size.
 * @data: What to write.
 * @len: Length in bytes, a multiple of the block size and at most a page; none
 *	for a flush.
 *
 * Context: Process context. Does not sleep.
 * Return: 0, then dormouse_transfer_wait() has to be called; -EBUSY while an
 * earlier transfer is under way; or as dormouse_bdev_check().
 */
int dormouse_transfer_start(struct dormouse_bdev *dev, enum dormouse_transfer_op op,
			    u64 offset, const void *data, size_t len)
{
	struct dormouse_transfer *transfer = &dev->transfer;
	bool write = op == DORMOUSE_WRITE || op == DORMOUSE_WRITE_DURABLY;
	int ret;

	if (op == DORMOUSE_FLUSH) {
		len = 0;
	} else {
		ret = dormouse_bdev_check(dev, offset, len, write);
		if (ret || len > PAGE_SIZE)
			return ret ?: -EINVAL;
	}
	if (atomic_cmpxchg(&transfer->state, TRANSFER_NONE, TRANSFER_WAITED) != TRANSFER_NONE)
		return -EBUSY;

	reinit_completion(&transfer->over);
	if (write)
		memcpy(page_address(transfer->page), data, len);
	bio_init(&transfer->bio, dev->bdev, &transfer->vec, len ? 1 : 0, opf_of(op));
	transfer->bio.bi_iter.bi_sector = len ? offset >> SECTOR_SHIFT : 0;
	transfer->bio.bi_end_io = transfer_end_io;
	if (len)
		__bio_add_page(&transfer->bio, transfer->page, len, 0);
	transfer->file = get_file(dev->file);
	dormouse_bdev_begin(dev);
	if (write)
		dormouse_count_write(dev->bdev, len);
	queue_work(system_unbound_wq, &transfer->work);
	return 0;
}

/**
 * dormouse_transfer_wait - Wait a while for the transfer of a handle.
 * @dev: The device, whose transfer was started by the caller.
 * @data: Becomes what was read; NULL if nothing was.
 * @len: Length of @data, as when it was started.
 * @ms: How long to wait.
 *
 * Context: Process context. May sleep.
 * Return: -EINPROGRESS if it is not over, then this or dormouse_transfer_leave()
 * has to be called again; 0 or the error of the device.
 */
int dormouse_transfer_wait(struct dormouse_bdev *dev, void *data, size_t len, u32 ms)
{
	struct dormouse_transfer *transfer = &dev->transfer;
	int ret;

	if (!wait_for_completion_io_timeout(&transfer->over, msecs_to_jiffies(ms)))
		return -EINPROGRESS;
	ret = transfer->result;
	if (data && !ret)
		memcpy(data, page_address(transfer->page), len);
	atomic_set_release(&transfer->state, TRANSFER_NONE);
	return ret;
}

/**
 * dormouse_transfer_leave - Stop waiting for the transfer of a handle.
 * @dev: The device, whose transfer was started by the caller.
 *
 * Context: Any.
 * Return: False if it is over by now, then dormouse_transfer_wait() has to be
 * called once more.
 */
bool dormouse_transfer_leave(struct dormouse_bdev *dev)
{
	return atomic_cmpxchg(&dev->transfer.state, TRANSFER_WAITED, TRANSFER_LEFT) ==
	       TRANSFER_WAITED;
}

/**
 * dormouse_bdev_forget - Let readers of the device node see what was written.
 * @dev: The device.
 * @offset: Where it was written, in bytes.
 * @len: How much, at least a byte.
 *
 * As far as nobody else is using it.
 *
 * Context: Process context. May sleep.
 */
void dormouse_bdev_forget(struct dormouse_bdev *dev, u64 offset, size_t len)
{
	invalidate_mapping_pages(dev->bdev->bd_mapping, offset >> PAGE_SHIFT,
				 (offset + len - 1) >> PAGE_SHIFT);
}
