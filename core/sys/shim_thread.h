/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DORMOUSE_SHIM_THREAD_H
#define _DORMOUSE_SHIM_THREAD_H

#include <linux/types.h>

struct task_struct;

bool dormouse_hush(void);
struct task_struct *dormouse_run(int (*main)(void *data), void *data, const char *name);

#endif
