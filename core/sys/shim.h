/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What core/sys/ needs of C: static inlines, macros, loops over pages, and
 * functions that are not for modules. The contracts are in the .c files.
 *
 * Kbuild makes Rust declarations of this file. It uses <linux/types.h> and
 * numbers of our own only, so that libclang understands it whatever the kernel is
 * built with.
 */
#ifndef _DORMOUSE_SHIM_H
#define _DORMOUSE_SHIM_H

#include <linux/types.h>
#ifdef CONFIG_DORMOUSE_GENL
#include <uapi/linux/hibernate.h>
#endif

struct dormouse_aead;
struct dormouse_attr;
struct dormouse_bdev;
struct dormouse_comp;
struct dormouse_dir;
struct dormouse_gate;
struct dormouse_genl_msg;
struct dormouse_hmac;
struct dormouse_ioq;
struct dormouse_key;
struct dormouse_restore;
struct dormouse_sock;
struct dormouse_thread;

/* shim_misc.c */

void *dormouse_zalloc(size_t bytes);
void dormouse_zfree(void *memory, size_t bytes, bool secret);
u64 dormouse_monotonic_ns(void);
u64 dormouse_sched_ns(void);
s64 dormouse_realtime_s(void);
void dormouse_sleep_ms(u32 ms);
void dormouse_fill_random(void *bytes, size_t len);
u32 dormouse_crc32c(u32 crc, const void *bytes, size_t len);
u64 dormouse_xxh64(const void *bytes, size_t len);
const char *dormouse_uts_release(void);
const char *dormouse_uts_version(void);
const char *dormouse_uts_machine(void);
int dormouse_build_id(u8 id[20]);
u64 dormouse_ram_pages(void);
bool dormouse_module_get(void *module);
void dormouse_module_put(void *module);
int dormouse_module_request(const char *name);

/* shim_ioq.c */

/**
 * struct dormouse_iobuf - A buffer that belongs to a queue.
 * @node: Links the buffer into its queue while nobody holds it.
 * @queue: The queue.
 * @data: Its memory.
 * @capacity: Size of @data in bytes.
 * @len: Bytes of the request, for whoever carries it out.
 * @tag: Whatever the holder wants to find again.
 * @result: 0 or a negative error code of the last request.
 * @requested: True if the buffer came back from a request.
 * @under_way: True while there is a request.
 * @error: First error of a request to block devices that is under way.
 * @pending: Parts of that request that are not over.
 */
struct dormouse_iobuf {
	struct list_head node;
	struct dormouse_ioq *queue;
	void *data;
	size_t capacity;
	size_t len;
	u64 tag;
	int result;
	bool requested;
	bool under_way;
	int error;
	atomic_t pending;
};

struct dormouse_ioq *dormouse_ioq_new(size_t buffers, size_t bytes);
void dormouse_ioq_free(struct dormouse_ioq *queue);
struct dormouse_iobuf *dormouse_ioq_get(struct dormouse_ioq *queue);
struct dormouse_iobuf *dormouse_ioq_try_get(struct dormouse_ioq *queue);
struct dormouse_iobuf *dormouse_ioq_get_within(struct dormouse_ioq *queue, u32 ms);
bool dormouse_ioq_wait_all_idle(struct dormouse_ioq *queue, u32 ms);
void dormouse_ioq_give_up(struct dormouse_ioq *queue);
void dormouse_ioq_counts(struct dormouse_ioq *queue, u64 *under_way, u64 *over);
void dormouse_iobuf_start(struct dormouse_iobuf *buf);
void dormouse_iobuf_return(struct dormouse_iobuf *buf, bool requested, int result);

/* shim_block.c */

struct dormouse_bdev *dormouse_bdev_open(u32 dev, bool write, bool exclusive);
int dormouse_bdev_lookup(const char *path, u32 *dev);
void dormouse_bdev_close(struct dormouse_bdev *dev);
u32 dormouse_bdev_dev(const struct dormouse_bdev *dev);
u64 dormouse_bdev_bytes(const struct dormouse_bdev *dev);
u32 dormouse_bdev_block_bytes(const struct dormouse_bdev *dev);
bool dormouse_bdev_read_only(const struct dormouse_bdev *dev);
bool dormouse_bdev_gone(const struct dormouse_bdev *dev);
void dormouse_bdev_name(const struct dormouse_bdev *dev, char *name, size_t size);
u32 dormouse_bdev_pending(const struct dormouse_bdev *dev);
void dormouse_request_begin(struct dormouse_iobuf *buf);
int dormouse_request_piece(struct dormouse_iobuf *buf, struct dormouse_bdev *dev,
			   u64 offset, size_t from, size_t len, bool write);
void dormouse_request_end(struct dormouse_iobuf *buf, int error);

/* shim_bdevs.c */

#define DORMOUSE_COUNTED_MAX 64

u32 dormouse_bdev_list(u32 *devs, u32 count);
u32 dormouse_bdev_mounted(u32 *devs, u32 count);
void dormouse_count_own(const u32 *devs, u32 count);
u64 dormouse_own_written(u32 dev);
u64 dormouse_bdev_written(const struct dormouse_bdev *dev);
bool dormouse_bdev_counts(const struct dormouse_bdev *dev);

/* shim_transfer.c */

/**
 * enum dormouse_transfer_op - What a transfer does.
 * @DORMOUSE_READ: Reads.
 * @DORMOUSE_WRITE: Writes.
 * @DORMOUSE_WRITE_DURABLY: Writes; all earlier completed writes and this one
 *	are on the medium when it is over.
 * @DORMOUSE_FLUSH: All completed writes are on the medium when it is over.
 */
enum dormouse_transfer_op {
	DORMOUSE_READ,
	DORMOUSE_WRITE,
	DORMOUSE_WRITE_DURABLY,
	DORMOUSE_FLUSH,
};

int dormouse_transfer_start(struct dormouse_bdev *dev, enum dormouse_transfer_op op,
			    u64 offset, const void *data, size_t len);
int dormouse_transfer_wait(struct dormouse_bdev *dev, void *data, size_t len, u32 ms);
bool dormouse_transfer_leave(struct dormouse_bdev *dev);
void dormouse_bdev_forget(struct dormouse_bdev *dev, u64 offset, size_t len);

/* shim_stack.c */

/**
 * enum dormouse_layer_kind - What a layer of a block device says.
 * @DORMOUSE_LAYER_DISK: That it is on this disk.
 * @DORMOUSE_LAYER_TARGET: That device-mapper makes this disk by such a target.
 * @DORMOUSE_LAYER_ARRAY: That md makes this disk, and of which level.
 */
enum dormouse_layer_kind {
	DORMOUSE_LAYER_DISK,
	DORMOUSE_LAYER_TARGET,
	DORMOUSE_LAYER_ARRAY,
};

/**
 * struct dormouse_layer - One layer of a block device.
 * @kind: What it says.
 * @dev: Number of the whole disk.
 * @level: Level of the array, negative for linear.
 * @external: True if a process keeps the metadata of the array.
 * @reshapes: True if the array is being reshaped, or is to go on with that.
 * @frees_slots: True if the disk forgets the contents of free swap slots.
 * @disk: Name of the disk.
 * @type: Type of the target.
 * @variant: For targets of type raid which kind of array that is, for those of
 *	type mirror where their log is.
 */
struct dormouse_layer {
	enum dormouse_layer_kind kind;
	u32 dev;
	s32 level;
	bool external;
	bool reshapes;
	bool frees_slots;
	char disk[32];
	char type[32];
	char variant[32];
};

int dormouse_stack(u32 dev, struct dormouse_layer *layers, u32 count);

/* shim_thread.c */

struct dormouse_thread *dormouse_thread_spawn(const char *name, void (*run)(void *ctx),
					      void *ctx);
bool dormouse_thread_wait(struct dormouse_thread *thread, u32 ms);
void dormouse_thread_join(struct dormouse_thread *thread);
void dormouse_thread_leave(struct dormouse_thread *thread);
struct dormouse_gate *dormouse_gate_new(void);
void dormouse_gate_free(struct dormouse_gate *gate);
void dormouse_gate_open(struct dormouse_gate *gate);
void dormouse_gate_close(struct dormouse_gate *gate);
void dormouse_gate_wait(struct dormouse_gate *gate);
bool dormouse_gate_wait_within(struct dormouse_gate *gate, u32 ms);
size_t dormouse_thread_bytes(void);
u32 dormouse_thread_id(void);

enum dormouse_scope {
	DORMOUSE_SCOPE_NOIO,
	DORMOUSE_SCOPE_RESERVES,
};

u32 dormouse_scope_begin(enum dormouse_scope kind);
void dormouse_scope_end(enum dormouse_scope kind, u32 before);

size_t dormouse_online_cpus(void);

/* shim_net.c */

/**
 * struct dormouse_address - Where a TCP server listens.
 * @port: Its port.
 * @is_v6: True for IPv6.
 * @bytes: Its address in network byte order; the first four of them for IPv4.
 */
struct dormouse_address {
	u16 port;
	bool is_v6;
	u8 bytes[16];
};

struct dormouse_sock *dormouse_sock_new(bool is_v6, u32 timeout_ms);
int dormouse_sock_connect(struct dormouse_sock *conn, const struct dormouse_address *to);
ssize_t dormouse_sock_send(struct dormouse_sock *conn, const void *bytes, size_t len,
			   bool more);
ssize_t dormouse_sock_receive(struct dormouse_sock *conn, void *bytes, size_t len);
void dormouse_sock_close(struct dormouse_sock *conn, bool orderly);
#if IS_ENABLED(CONFIG_DORMOUSE_KUNIT_TEST)
struct dormouse_sock *dormouse_sock_listen(u16 *port);
struct dormouse_sock *dormouse_sock_accept(struct dormouse_sock *listener);
#endif

/* shim_genl.c */

/**
 * struct dormouse_genl_ops - What is done when somebody asks.
 * @answer: Puts the attributes of the answer to command @command into @msg.
 * @abort: Stops the cycle that is under way.
 *
 * Both are called in process context, may sleep, and may be called by several
 * threads at once. They return 0 or a negative error code, which the asker gets.
 */
struct dormouse_genl_ops {
	int (*answer)(void *ctx, u32 command, struct dormouse_genl_msg *msg);
	int (*abort)(void *ctx);
};

int dormouse_genl_register(const struct dormouse_genl_ops *ops, void *ctx);
void dormouse_genl_unregister(void);
struct dormouse_genl_msg *dormouse_genl_begin(u32 command);
void dormouse_genl_end(struct dormouse_genl_msg *msg, bool send);
int dormouse_genl_put_u8(struct dormouse_genl_msg *msg, u16 attr, u8 value);
int dormouse_genl_put_u32(struct dormouse_genl_msg *msg, u16 attr, u32 value);
int dormouse_genl_put_s32(struct dormouse_genl_msg *msg, u16 attr, s32 value);
int dormouse_genl_put_uint(struct dormouse_genl_msg *msg, u16 attr, u64 value);
int dormouse_genl_put_text(struct dormouse_genl_msg *msg, u16 attr, const char *text,
			   size_t len);

/* shim_crypto.c */

bool dormouse_comp_exists(const char *name);
struct dormouse_comp *dormouse_comp_new(const char *name);
void dormouse_comp_free(struct dormouse_comp *comp);
int dormouse_comp_compress(struct dormouse_comp *comp, const u8 *src, u32 src_len,
			   u8 *dst, u32 *dst_len);
int dormouse_comp_decompress(struct dormouse_comp *comp, const u8 *src, u32 src_len,
			     u8 *dst, u32 *dst_len);

/* shim_aead.c */

struct dormouse_aead *dormouse_aead_new(const char *name, size_t len_max, size_t bound_max,
					u32 tag_len);
void dormouse_aead_free(struct dormouse_aead *aead);
int dormouse_aead_set_key(struct dormouse_aead *aead, const u8 *key, u32 len);
int dormouse_aead_crypt(struct dormouse_aead *aead, bool encrypt, const u8 *nonce,
			u32 nonce_len, const u8 *bound, size_t bound_len, const u8 *src,
			size_t src_len, u8 *dst, size_t dst_len);
struct dormouse_hmac *dormouse_hmac_new(void);
void dormouse_hmac_free(struct dormouse_hmac *hmac);
int dormouse_hmac_begin(struct dormouse_hmac *hmac, const u8 *key, u32 len);
int dormouse_hmac_add(struct dormouse_hmac *hmac, const u8 *bytes, u32 len);
int dormouse_hmac_end(struct dormouse_hmac *hmac, u8 out[32]);

/* shim_keys.c */

struct dormouse_key *dormouse_key_find(const char *type, const char *description);
void dormouse_key_put(struct dormouse_key *key);
s64 dormouse_key_read(struct dormouse_key *key, void *out, size_t size);

/* shim_sysfs.c */

/**
 * struct dormouse_attr_ops - What a sysfs attribute does.
 * @show: Writes at most @size bytes to @page and returns how many, or an error.
 * @store: Takes @len bytes and returns 0 or an error.
 * @release: Told when neither will ever be called again.
 */
struct dormouse_attr_ops {
	ssize_t (*show)(void *ctx, char *page, size_t size);
	int (*store)(void *ctx, const char *value, size_t len);
	void (*release)(void *ctx);
};

struct dormouse_dir *dormouse_dir_new(struct dormouse_dir *parent, const char *name);
void dormouse_dir_remove(struct dormouse_dir *dir);
int dormouse_dir_add(struct dormouse_dir *dir, const char *name, u16 mode,
		     const struct dormouse_attr_ops *ops, void *ctx);

/* shim_power.c */

bool dormouse_hibernation_available(void);
int dormouse_trigger_hibernate(void);
int dormouse_trigger_resume(void);
bool dormouse_wakeup_pending(void);
void dormouse_go_down(bool reboot);
int dormouse_set_no_pm_freeze(s32 pid);
void dormouse_clear_no_pm_freeze(void);
bool dormouse_task_name(s32 pid, char *name, size_t size);

#if defined(CONFIG_DORMOUSE_HIBERNATE)

/* shim_hibernate.c */

/**
 * struct dormouse_hooks - Receives the calls of struct hibernation_image_ops.
 * @begin: See there.
 * @prepare: See there.
 * @frozen: See there.
 * @snapshot: See there.
 * @write: See there.
 * @discard: See there.
 * @end: See there.
 * @check: See there.
 * @read: See there.
 * @close: See there.
 * @announced: Asked when PM notifiers are told that an image is about to be
 *	saved, or restored, by whomever. May sleep. An error makes that fail.
 */
struct dormouse_hooks {
	int (*begin)(void *ctx);
	int (*prepare)(void *ctx);
	int (*frozen)(void *ctx);
	int (*snapshot)(void *ctx);
	int (*write)(void *ctx, bool platform_mode);
	void (*discard)(void *ctx, bool restored);
	void (*end)(void *ctx, int error);
	int (*check)(void *ctx, const char *resume_file, bool reset);
	int (*read)(void *ctx, bool *platform_mode);
	void (*close)(void *ctx, int error);
	int (*announced)(void *ctx, bool restore);
};

/**
 * enum dormouse_phase - Which of the hooks is running.
 * @DORMOUSE_PHASE_NONE: None of those below.
 * @DORMOUSE_PHASE_PREPARE: @prepare.
 * @DORMOUSE_PHASE_SNAPSHOT: @snapshot.
 * @DORMOUSE_PHASE_WRITE: @write.
 * @DORMOUSE_PHASE_READ: @read.
 */
enum dormouse_phase {
	DORMOUSE_PHASE_NONE,
	DORMOUSE_PHASE_PREPARE,
	DORMOUSE_PHASE_SNAPSHOT,
	DORMOUSE_PHASE_WRITE,
	DORMOUSE_PHASE_READ,
};

int dormouse_hooks_register(const struct dormouse_hooks *hooks, void *ctx);
void dormouse_hooks_unregister(void);
enum dormouse_phase dormouse_phase_lock(void);
void dormouse_phase_unlock(void);
bool dormouse_phase_is_snapshot(void);
s64 dormouse_arch_header_save(void *bytes, size_t size);
int dormouse_arch_header_restore(const void *bytes, size_t len);
bool dormouse_resume_device(u32 *dev, u64 *block);
void dormouse_set_resume_device(u32 dev, u64 block);
const char *dormouse_pm_test(void);

/* shim_tasks.c */

#define DORMOUSE_TASK_FRAMES	8

/**
 * struct dormouse_task - A task, and where it is.
 * @pid: Its ID.
 * @is_kernel_thread: True for one of the kernel's own.
 * @name: Its name.
 * @frames: How many of @stack there are.
 * @stack: Functions that it is in, the innermost first, without those of the
 * scheduler.
 */
struct dormouse_task {
	s32 pid;
	bool is_kernel_thread;
	char name[16];
	u32 frames;
	char stack[DORMOUSE_TASK_FRAMES][48];
};

/**
 * struct dormouse_mount - A mounted filesystem that a process or a server
 * provides.
 * @path: Where it is mounted.
 * @source: What is mounted there.
 * @minor: Minor number of its device, by which FUSE names connections.
 * @waiting: Requests that have not been answered, for FUSE only.
 * @server: ID of the process that answers them, or 0 if it is not known.
 * @server_name: Its name.
 */
struct dormouse_mount {
	char path[128];
	char source[64];
	u32 minor;
	u32 waiting;
	s32 server;
	char server_name[16];
};

s64 dormouse_unfrozen_tasks(bool kernel_threads, struct dormouse_task *tasks, u32 room);
int dormouse_mount_of_type(const char *type, u32 number, struct dormouse_mount *out);

/* shim_pages.c */

#define DORMOUSE_ENTRY_FILL	(1ULL << 63)

/**
 * struct dormouse_entry - One page of a snapshot.
 * @pfn: Page frame number, with DORMOUSE_ENTRY_FILL if one word fills the page.
 * @word: That word, or the number of the copy.
 */
struct dormouse_entry {
	u64 pfn;
	u64 word;
};

/**
 * struct dormouse_counts - How many pages a snapshot has.
 * @image_pages: All of them.
 * @data_pages: Those that were copied.
 */
struct dormouse_counts {
	u64 image_pages;
	u64 data_pages;
};

/**
 * struct dormouse_free_pages - Page frames that nobody uses.
 * @all: All of them.
 * @movable: Of those that can be allocated, those for memory that can be moved.
 * @kept_back: Those that are for emergencies only.
 */
struct dormouse_free_pages {
	u64 all;
	u64 movable;
	u64 kept_back;
};

s64 dormouse_count_saveable(void);
void dormouse_free_pages(struct dormouse_free_pages *free);
u64 dormouse_shrink(u64 pages);
void *dormouse_copy_alloc(u32 order, bool movable);
void dormouse_copy_free(void *page);
int dormouse_snapshot(struct dormouse_entry *entries, u64 entry_count,
		      void *const *copies, u64 copy_count,
		      struct dormouse_counts *counts);

/* shim_restore.c */

struct dormouse_restore *dormouse_restore_new(u64 slots);
void dormouse_restore_free(struct dormouse_restore *restore);
int dormouse_restore_add(struct dormouse_restore *restore, u64 pfn, u64 count);
int dormouse_restore_own(struct dormouse_restore *restore);
int dormouse_restore_place(struct dormouse_restore *restore, u64 pfn, u64 count);
void *const *dormouse_restore_slots(const struct dormouse_restore *restore);
u64 dormouse_restore_placed(const struct dormouse_restore *restore);
u64 dormouse_restore_in_place(const struct dormouse_restore *restore);
int dormouse_restore_arm(struct dormouse_restore *restore);

/* shim_swap.c */

/**
 * struct dormouse_swap_area - A swap area in use.
 * @priority: The higher, the sooner used.
 * @dev: The block device it is on.
 * @pages: Size in pages.
 * @free_pages: Of these free.
 * @header_block: Where its header is on the device, in pages.
 * @is_file: True if it is a file on a filesystem.
 * @is_virtual: True if the kernel makes the device itself, as dm and md do.
 * @name: Path of the device node or file.
 */
struct dormouse_swap_area {
	s32 priority;
	u32 dev;
	u64 pages;
	u64 free_pages;
	u64 header_block;
	bool is_file;
	bool is_virtual;
	char name[256];
};

/**
 * struct dormouse_swap_extent - Swap slots that follow each other.
 * @slot: First of them, in the swap area.
 * @block: Its place on the device, in pages.
 * @count: How many.
 */
struct dormouse_swap_extent {
	u64 slot;
	u64 block;
	u64 count;
};

u32 dormouse_swap_types(void);
u64 dormouse_swap_free_runs(u32 type);
int dormouse_swap_area(u32 type, struct dormouse_swap_area *area);
struct dormouse_bdev *dormouse_swap_bdev(u32 type);
s64 dormouse_swap_alloc(u32 type, u64 want, struct dormouse_swap_extent *extents,
			u64 extent_count);
void dormouse_swap_free(u32 type, u64 slot, u64 count);

/* shim_fs.c */

struct dormouse_fs_freeze;

/**
 * struct dormouse_fs_progress - How far a freeze of filesystems has come.
 * @frozen: Filesystems that are frozen.
 * @dirty: Pages of all filesystems that are still to be written.
 * @written: Sectors written to the devices of the one that is being frozen. Of
 *	use for comparison only.
 */
struct dormouse_fs_progress {
	u32 frozen;
	u64 dirty;
	u64 written;
};

bool dormouse_fs_busy(void);
struct dormouse_fs_freeze *dormouse_fs_freeze_start(void);
bool dormouse_fs_freeze_wait(struct dormouse_fs_freeze *freeze, u32 ms);
bool dormouse_fs_not_frozen(struct dormouse_fs_freeze *freeze, bool all, char *type,
			    char *name, size_t size);
void dormouse_fs_freeze_progress(struct dormouse_fs_freeze *freeze,
				 struct dormouse_fs_progress *progress);
void dormouse_fs_freeze_abandon(struct dormouse_fs_freeze *freeze);
void dormouse_fs_freeze_end(struct dormouse_fs_freeze *freeze);
bool dormouse_fs_thaw(struct dormouse_fs_freeze *freeze, u32 ms, char *type, char *name,
		      size_t size);

/* shim_file.c */

/**
 * enum dormouse_file_how - What a file is opened for.
 * @DORMOUSE_FILE_READ: To read it.
 * @DORMOUSE_FILE_WRITE: To write it, too.
 * @DORMOUSE_FILE_CREATE: The same, and it must not be there yet.
 */
enum dormouse_file_how {
	DORMOUSE_FILE_READ,
	DORMOUSE_FILE_WRITE,
	DORMOUSE_FILE_CREATE,
};

#define DORMOUSE_FILE_KNOWN_FS		(1U << 0)
#define DORMOUSE_FILE_READ_ONLY		(1U << 1)
#define DORMOUSE_FILE_ENCRYPTED		(1U << 2)
#define DORMOUSE_FILE_COMPRESSED	(1U << 3)
#define DORMOUSE_FILE_JOURNALED		(1U << 4)
#define DORMOUSE_FILE_NOCOW		(1U << 5)
#define DORMOUSE_FILE_INLINE		(1U << 6)
#define DORMOUSE_FILE_DAX		(1U << 7)
#define DORMOUSE_FILE_IN_USE		(1U << 8)
#define DORMOUSE_FILE_UNLINKED		(1U << 9)

/**
 * struct dormouse_file_info - What a file is.
 * @bytes: Its size.
 * @block_bytes: Size of the filesystem's blocks.
 * @flags: DORMOUSE_FILE_ flags.
 * @fs: Name of the filesystem.
 */
struct dormouse_file_info {
	u64 bytes;
	u32 block_bytes;
	u32 flags;
	char fs[32];
};

/**
 * struct dormouse_file_extent - Pages of a file that follow each other.
 * @page: First of them, in the file.
 * @block: Its place on the device, in pages.
 * @count: How many.
 */
struct dormouse_file_extent {
	u64 page;
	u64 block;
	u64 count;
};

struct dormouse_file *dormouse_file_open(const char *path, enum dormouse_file_how how);
void dormouse_file_describe(const struct dormouse_file *f, struct dormouse_file_info *info);
u32 dormouse_file_dev(const struct dormouse_file *f);
bool dormouse_file_is_open_for_write(const struct dormouse_file *f);
s64 dormouse_file_read(const struct dormouse_file *f, u64 pos, void *data, size_t len);
int dormouse_file_write(const struct dormouse_file *f, u64 pos, const void *data, size_t len);
int dormouse_file_allocate(const struct dormouse_file *f, u64 bytes);
int dormouse_file_sync(const struct dormouse_file *f);
int dormouse_file_remove(const struct dormouse_file *f);

/* shim_pin.c */

int dormouse_file_pin(struct dormouse_file *f);
u64 dormouse_file_extents(const struct dormouse_file *f, struct dormouse_file_extent *extents,
			  u64 extent_count);
int dormouse_file_verify(const struct dormouse_file *f);
int dormouse_file_forget(const struct dormouse_file *f);
struct dormouse_bdev *dormouse_file_bdev(const struct dormouse_file *f);
void dormouse_file_close(struct dormouse_file *f);

/* shim_cmdline.c */

const char *dormouse_option(const char *name);

#endif /* CONFIG_DORMOUSE_HIBERNATE */

#endif /* _DORMOUSE_SHIM_H */
