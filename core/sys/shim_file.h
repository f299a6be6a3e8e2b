/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DORMOUSE_SHIM_FILE_H
#define _DORMOUSE_SHIM_FILE_H

#include <linux/fs.h>

struct swap_info_struct;

/**
 * struct dormouse_file - A file in use.
 * @file: The file.
 * @map: Where its blocks are, while it is pinned; otherwise NULL.
 * @denied: True if nobody can open it for writing.
 */
struct dormouse_file {
	struct file *file;
	struct swap_info_struct *map;
	bool denied;
};

static inline struct inode *dormouse_file_inode(const struct dormouse_file *f)
{
	return file_inode(f->file);
}

#endif /* _DORMOUSE_SHIM_FILE_H */
