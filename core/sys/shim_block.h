/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DORMOUSE_SHIM_BLOCK_H
#define _DORMOUSE_SHIM_BLOCK_H

#include <linux/types.h>

struct block_device;
struct file;

/**
 * struct dormouse_bdev - A block device in use.
 * @file: Keeps it open.
 * @bdev: The device.
 * @write: True if it may be written.
 * @borrowed: True if @file belongs to somebody else as well.
 */
struct dormouse_bdev {
	struct file *file;
	struct block_device *bdev;
	bool write;
	bool borrowed;
};

struct dormouse_bdev *dormouse_bdev_borrow(struct file *file, struct block_device *bdev);

#endif /* _DORMOUSE_SHIM_BLOCK_H */
