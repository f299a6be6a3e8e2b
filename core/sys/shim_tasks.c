// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: tasks that refuse to freeze, and filesystems that they may wait for.
 */

#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/miscdevice.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/path.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/seqlock.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/types.h>

#include "fuse_i.h"
#include "mount.h"
#include "shim.h"

/* Frames of a stack that are looked at; those of the scheduler come first. */
#define FRAMES	(DORMOUSE_TASK_FRAMES + 8)

/*
 * Open files of all processes that are looked at for who serves a filesystem: no
 * more than take some milliseconds, whatever users have opened.
 */
#define FILES_MAX	65536

static bool is_freezing(bool kernel_threads)
{
	return kernel_threads ? READ_ONCE(pm_nosig_freezing) : READ_ONCE(pm_freezing);
}

static void describe(struct task_struct *task, struct dormouse_task *out)
{
	unsigned long stack[FRAMES] = {};
	unsigned int i, count = 0;

	memset(out, 0, sizeof(*out));
	out->pid = task_pid_nr(task);
	out->is_kernel_thread = task->flags & PF_KTHREAD;
	strscpy(out->name, task->comm, sizeof(out->name));
#ifdef CONFIG_STACKTRACE
	/* Of a task that runs this may be anything, but nothing that harms. */
	count = stack_trace_save_tsk(task, stack, ARRAY_SIZE(stack), 0);
#endif
	for (i = 0; i < count && out->frames < DORMOUSE_TASK_FRAMES; i++)
		if (!in_sched_functions(stack[i]))
			snprintf(out->stack[out->frames++], sizeof(out->stack[0]), "%ps",
				 (void *)stack[i]);
}

/**
 * dormouse_unfrozen_tasks - Find tasks that are told to freeze and have not yet.
 * @kernel_threads: True while kernel threads are frozen, false while tasks of
 * user space are.
 * @tasks: Where to put them.
 * @room: How many fit there.
 *
 * Context: Process context.
 * Return: How many there are, which may be more than @room, or -EAGAIN if no
 * such freezing was under way all the time.
 */
s64 dormouse_unfrozen_tasks(bool kernel_threads, struct dormouse_task *tasks, u32 room)
{
	struct task_struct *process, *task;
	s64 found = 0;

	if (!is_freezing(kernel_threads))
		return -EAGAIN;
	rcu_read_lock();
	for_each_process_thread(process, task) {
		if (!freezing(task) || frozen(task))
			continue;
		if (found < room)
			describe(task, &tasks[found]);
		found++;
	}
	rcu_read_unlock();
	/* Those that were thawed meanwhile were told to freeze no more. */
	return is_freezing(kernel_threads) ? found : -EAGAIN;
}

/* As next_mnt() of fs/namespace.c. With mount_lock held. */
static struct mount *next_below(struct mount *mount, const struct mount *root)
{
	if (!list_empty(&mount->mnt_mounts))
		return list_first_entry(&mount->mnt_mounts, struct mount, mnt_child);
	for (; mount != root; mount = mount->mnt_parent)
		if (!list_is_last(&mount->mnt_child, &mount->mnt_parent->mnt_mounts))
			return list_next_entry(mount, mnt_child);
	return NULL;
}

/* Mount number @number of type @type, held, from the caller's namespace. */
static struct mount *get_mount(const char *type, u32 number)
{
	struct mount *mount, *root;

	read_seqlock_excl(&mount_lock);
	root = current->nsproxy->mnt_ns->root;
	for (mount = root; mount; mount = next_below(mount, root))
		if (!strcmp(mount->mnt.mnt_sb->s_type->name, type) && !number--) {
			mntget(&mount->mnt);
			break;
		}
	read_sequnlock_excl(&mount_lock);
	return mount;
}

#if IS_ENABLED(CONFIG_FUSE_FS)
/* Takes the files that it looks at off @left. */
static bool serves(struct task_struct *process, const struct fuse_conn *conn,
		   unsigned int *left)
{
	bool found = false;
	unsigned int fd;

	for (fd = 0; !found && *left; fd++, (*left)--) {
		const struct fuse_dev *dev;
		const struct inode *inode;
		struct file *file;

		file = task_lookup_next_fdget_rcu(process, &fd);
		if (!file)
			break;
		inode = file_inode(file);
		/* fuse_dev_operations may be in a module. */
		if (S_ISCHR(inode->i_mode) && inode->i_rdev == MKDEV(MISC_MAJOR, FUSE_MINOR)) {
			dev = READ_ONCE(file->private_data);
			found = dev && dev->fc == conn;
		}
		fput(file);
	}
	return found;
}

static void describe_fuse(const struct super_block *sb, struct dormouse_mount *out)
{
	const struct fuse_mount *mount = sb->s_fs_info;
	const struct fuse_conn *conn = mount->fc;
	unsigned int left = FILES_MAX;
	struct task_struct *process;

	out->waiting = atomic_read(&conn->num_waiting);
	rcu_read_lock();
	for_each_process(process) {
		if (serves(process, conn, &left)) {
			out->server = task_pid_nr(process);
			strscpy(out->server_name, process->comm, sizeof(out->server_name));
			break;
		}
		if (!left)
			break;
	}
	rcu_read_unlock();
}

static bool is_fuse(const struct super_block *sb)
{
	/* That of virtiofs is the same, and its data as well. */
	return sb->s_magic == FUSE_SUPER_MAGIC && sb->s_fs_info;
}
#else
static void describe_fuse(const struct super_block *sb, struct dormouse_mount *out)
{
}

static bool is_fuse(const struct super_block *sb)
{
	return false;
}
#endif

/**
 * dormouse_mount_of_type - Describe a mounted filesystem.
 * @type: Name of its type.
 * @number: Which one of these, from 0 on.
 * @out: The description.
 *
 * Takes no lock that a filesystem holds while it waits for its server.
 *
 * Context: Process context. May sleep.
 * Return: 0, or -ENOENT if there are not so many in the namespace of the caller.
 */
int dormouse_mount_of_type(const char *type, u32 number, struct dormouse_mount *out)
{
	char room[sizeof(out->path)];
	struct mount *mount;
	struct path path;
	char *name;

	mount = get_mount(type, number);
	if (!mount)
		return -ENOENT;
	memset(out, 0, sizeof(*out));
	path.mnt = &mount->mnt;
	path.dentry = mount->mnt.mnt_root;
	name = d_path(&path, room, sizeof(room));
	strscpy(out->path, IS_ERR(name) ? "?" : name, sizeof(out->path));
	strscpy(out->source, mount->mnt_devname ?: "?", sizeof(out->source));
	out->minor = MINOR(mount->mnt.mnt_sb->s_dev);
	if (is_fuse(mount->mnt.mnt_sb))
		describe_fuse(mount->mnt.mnt_sb, out);
	mntput(&mount->mnt);
	return 0;
}
