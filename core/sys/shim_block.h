/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DORMOUSE_SHIM_BLOCK_H
#define _DORMOUSE_SHIM_BLOCK_H

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct block_device;
struct file;

/**
 * struct dormouse_transfer - The transfer of a device that is waited for.
 * @state: What becomes of it, one of enum transfer_state.
 * @over: Completed when it is over.
 * @file: Keeps the device open until then.
 * @page: The data, which belongs to the device until then.
 * @result: 0 or a negative error code.
 * @work: Submits it, which may sleep for as long as the device likes.
 * @vec: Describes @page.
 * @bio: The request.
 */
struct dormouse_transfer {
	atomic_t state;
	struct completion over;
	struct file *file;
	struct page *page;
	int result;
	struct work_struct work;
	struct bio_vec vec;
	struct bio bio;
};

/**
 * struct dormouse_bdev - A block device in use.
 * @file: Keeps it open.
 * @bdev: The device.
 * @write: True if it may be written.
 * @borrowed: True if @file belongs to somebody else as well.
 * @users: Whoever holds the device, and one for each request under way.
 * @pending: Requests under way.
 * @transfer: The transfer that is waited for, one at a time.
 */
struct dormouse_bdev {
	struct file *file;
	struct block_device *bdev;
	bool write;
	bool borrowed;
	refcount_t users;
	atomic_t pending;
	struct dormouse_transfer transfer;
};

struct dormouse_bdev *dormouse_bdev_borrow(struct file *file, struct block_device *bdev);
struct dormouse_bdev *dormouse_bdev_alloc(void);
void dormouse_count_write(const struct block_device *bdev, size_t len);
void dormouse_each_mounted(void (*f)(struct block_device *bdev, void *arg), void *arg);
void dormouse_transfer_init(struct dormouse_bdev *dev);
void dormouse_bdev_begin(struct dormouse_bdev *dev);
void dormouse_bdev_end(struct dormouse_bdev *dev);
int dormouse_bdev_check(const struct dormouse_bdev *dev, u64 offset, size_t len, bool write);

#endif /* _DORMOUSE_SHIM_BLOCK_H */
