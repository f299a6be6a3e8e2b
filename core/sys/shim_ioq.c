// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: queues of buffers that travel between workers and a storage.
 */

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "shim.h"

/**
 * struct dormouse_ioq - A queue of buffers.
 * @lock: Protects everything below.
 * @ready: Buffers that nobody holds, in the order in which they came back.
 * @out: Buffers that somebody holds.
 * @wait: Those who wait for a buffer.
 * @idle: Those who wait for all of them.
 * @under_way: Requests that are not over.
 * @over: Requests that are over.
 * @given_up: True if waiting for a buffer has no point any more.
 * @dropped: True if the last buffer to come back frees the queue.
 * @free: Frees the queue in process context.
 * @count: Length of @bufs.
 * @bufs: The buffers.
 */
struct dormouse_ioq {
	spinlock_t lock;
	struct list_head ready;
	size_t out;
	wait_queue_head_t wait;
	wait_queue_head_t idle;
	size_t under_way;
	u64 over;
	bool given_up;
	bool dropped;
	struct work_struct free;
	size_t count;
	struct dormouse_iobuf bufs[] __counted_by(count);
};

static void free_memory(struct dormouse_ioq *queue)
{
	size_t i;

	for (i = 0; i < queue->count; i++)
		dormouse_zfree(queue->bufs[i].data, 0, false);
	dormouse_zfree(queue, 0, false);
}

static void free_late(struct work_struct *work)
{
	free_memory(container_of(work, struct dormouse_ioq, free));
}

/**
 * dormouse_ioq_new - Create a queue.
 * @buffers: Number of buffers, at least 1.
 * @bytes: Size of each, a multiple of the page size.
 *
 * Context: Process context. May sleep.
 * Return: The queue or an ERR_PTR(): -EINVAL, -ENOMEM.
 */
struct dormouse_ioq *dormouse_ioq_new(size_t buffers, size_t bytes)
{
	struct dormouse_ioq *queue;
	size_t i;

	/* A page-sized multiple is aligned for all devices. */
	if (!buffers || !bytes || bytes > SZ_1G || !PAGE_ALIGNED(bytes))
		return ERR_PTR(-EINVAL);

	queue = dormouse_zalloc(struct_size(queue, bufs, buffers));
	if (!queue)
		return ERR_PTR(-ENOMEM);

	spin_lock_init(&queue->lock);
	INIT_LIST_HEAD(&queue->ready);
	init_waitqueue_head(&queue->wait);
	init_waitqueue_head(&queue->idle);
	INIT_WORK(&queue->free, free_late);
	queue->count = buffers;

	for (i = 0; i < buffers; i++) {
		struct dormouse_iobuf *buf = &queue->bufs[i];

		buf->data = dormouse_zalloc(bytes);
		if (!buf->data) {
			free_memory(queue);
			return ERR_PTR(-ENOMEM);
		}
		buf->queue = queue;
		buf->capacity = bytes;
		list_add_tail(&buf->node, &queue->ready);
	}
	return queue;
}

/*
 * Buffers are returned entirely under the lock, so whoever sees here that all
 * are back may free the queue.
 */
static bool all_idle(struct dormouse_ioq *queue)
{
	unsigned long flags;
	bool idle;

	spin_lock_irqsave(&queue->lock, flags);
	idle = !queue->out;
	spin_unlock_irqrestore(&queue->lock, flags);
	return idle;
}

/**
 * dormouse_ioq_wait_all_idle - Wait until nobody holds a buffer.
 * @queue: The queue.
 * @ms: How long to wait.
 *
 * Context: Process context. May sleep.
 * Return: True if nobody holds one.
 */
bool dormouse_ioq_wait_all_idle(struct dormouse_ioq *queue, u32 ms)
{
	return wait_event_idle_timeout(queue->idle, all_idle(queue), msecs_to_jiffies(ms));
}

/**
 * dormouse_ioq_give_up - End waiting for buffers, now and from now on.
 * @queue: The queue. A device may have stopped without a word.
 *
 * Context: Any but NMI.
 */
void dormouse_ioq_give_up(struct dormouse_ioq *queue)
{
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	queue->given_up = true;
	wake_up_all(&queue->wait);
	spin_unlock_irqrestore(&queue->lock, flags);
}

/**
 * dormouse_ioq_counts - Say how many requests there are and were.
 * @queue: The queue.
 * @under_way: Becomes the number of those that are not over.
 * @over: Becomes the number of those that are.
 *
 * Context: Any but NMI.
 */
void dormouse_ioq_counts(struct dormouse_ioq *queue, u64 *under_way, u64 *over)
{
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	*under_way = queue->under_way;
	*over = queue->over;
	spin_unlock_irqrestore(&queue->lock, flags);
}

/**
 * dormouse_ioq_free - Free the queue when nobody holds a buffer any more.
 * @queue: The queue, which the caller must not touch any more.
 *
 * A device may still write to a buffer or read from it. So the last one to come
 * back takes the queue with it, at once or in an hour.
 *
 * Context: Process context. May sleep.
 */
void dormouse_ioq_free(struct dormouse_ioq *queue)
{
	unsigned long flags;
	bool idle;

	spin_lock_irqsave(&queue->lock, flags);
	queue->dropped = true;
	idle = !queue->out;
	spin_unlock_irqrestore(&queue->lock, flags);
	if (idle)
		free_memory(queue);
}

/**
 * dormouse_ioq_try_get - Take the buffer that came back first, if there is one.
 * @queue: The queue.
 *
 * Context: Any but NMI.
 * Return: The buffer or NULL.
 */
struct dormouse_iobuf *dormouse_ioq_try_get(struct dormouse_ioq *queue)
{
	struct dormouse_iobuf *buf;
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	buf = list_first_entry_or_null(&queue->ready, struct dormouse_iobuf, node);
	if (buf) {
		list_del_init(&buf->node);
		queue->out++;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return buf;
}

static bool given_up(struct dormouse_ioq *queue)
{
	unsigned long flags;
	bool ret;

	spin_lock_irqsave(&queue->lock, flags);
	ret = queue->given_up;
	spin_unlock_irqrestore(&queue->lock, flags);
	return ret;
}

/**
 * dormouse_ioq_get - Take the buffer that came back first; wait for one.
 * @queue: The queue.
 *
 * Context: Process context. May sleep until a buffer is back, so somebody else
 * has to call dormouse_ioq_give_up() if that takes too long.
 * Return: The buffer, or NULL if the queue was given up.
 */
struct dormouse_iobuf *dormouse_ioq_get(struct dormouse_ioq *queue)
{
	struct dormouse_iobuf *buf = NULL;

	wait_event_idle_exclusive(queue->wait, given_up(queue) ||
				  (buf = dormouse_ioq_try_get(queue)));
	return buf;
}

/**
 * dormouse_ioq_get_within - Take the buffer that came back first; wait a while.
 * @queue: The queue.
 * @ms: How long to wait for one.
 *
 * Context: Process context. May sleep.
 * Return: The buffer or NULL.
 */
struct dormouse_iobuf *dormouse_ioq_get_within(struct dormouse_ioq *queue, u32 ms)
{
	struct dormouse_iobuf *buf;

	/* Not exclusive: who stops waiting must not have been the one that was woken. */
	wait_event_idle_timeout(queue->wait, (buf = dormouse_ioq_try_get(queue)),
				msecs_to_jiffies(ms));
	return buf;
}

/**
 * dormouse_iobuf_start - Note that a request begins.
 * @buf: The buffer it is about.
 *
 * Context: Any but NMI.
 */
void dormouse_iobuf_start(struct dormouse_iobuf *buf)
{
	struct dormouse_ioq *queue = buf->queue;
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	if (!buf->under_way) {
		buf->under_way = true;
		queue->under_way++;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
}

/**
 * dormouse_iobuf_return - Give a buffer back to its queue.
 * @buf: The buffer, which must not be touched any more.
 * @requested: True if a request is over, false if there was none.
 * @result: 0 or the negative error code of the request.
 *
 * Context: Any but NMI.
 */
void dormouse_iobuf_return(struct dormouse_iobuf *buf, bool requested, int result)
{
	struct dormouse_ioq *queue = buf->queue;
	unsigned long flags;
	bool last;

	spin_lock_irqsave(&queue->lock, flags);
	if (buf->under_way) {
		buf->under_way = false;
		queue->under_way--;
		queue->over++;
	}
	buf->requested = requested;
	buf->result = result;
	list_add_tail(&buf->node, &queue->ready);
	queue->out--;
	wake_up(&queue->wait);
	if (!queue->out)
		wake_up_all(&queue->idle);
	/* Whoever drops the queue after this finds all buffers back. */
	last = queue->dropped && !queue->out;
	spin_unlock_irqrestore(&queue->lock, flags);
	if (last)
		queue_work(system_unbound_wq, &queue->free);
}
