// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: queues of buffers that travel between workers and a storage.
 */

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "shim.h"

/**
 * struct dormouse_ioq - A queue of buffers.
 * @lock: Protects everything below.
 * @ready: Buffers that nobody holds, in the order in which they came back.
 * @out: Buffers that somebody holds.
 * @wait: Those who wait for a buffer.
 * @idle: Those who wait for all of them.
 * @count: Length of @bufs.
 * @bufs: The buffers.
 */
struct dormouse_ioq {
	spinlock_t lock;
	struct list_head ready;
	size_t out;
	wait_queue_head_t wait;
	wait_queue_head_t idle;
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
 *
 * Context: Process context. May sleep.
 */
void dormouse_ioq_wait_all_idle(struct dormouse_ioq *queue)
{
	wait_event_idle(queue->idle, all_idle(queue));
}

/**
 * dormouse_ioq_free - Wait until nobody holds a buffer and free the queue.
 * @queue: The queue.
 *
 * Context: Process context. May sleep.
 */
void dormouse_ioq_free(struct dormouse_ioq *queue)
{
	/* Devices may still be writing to a buffer: there is no way but to wait. */
	while (!wait_event_idle_timeout(queue->idle, all_idle(queue), 60 * HZ))
		pr_warn("dormouse: still waiting for %zu buffers\n",
			READ_ONCE(queue->out));
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

/**
 * dormouse_ioq_get - Take the buffer that came back first; wait for one.
 * @queue: The queue.
 *
 * Context: Process context. May sleep.
 * Return: The buffer.
 */
struct dormouse_iobuf *dormouse_ioq_get(struct dormouse_ioq *queue)
{
	struct dormouse_iobuf *buf;

	wait_event_idle_exclusive(queue->wait, (buf = dormouse_ioq_try_get(queue)));
	return buf;
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

	spin_lock_irqsave(&queue->lock, flags);
	buf->requested = requested;
	buf->result = result;
	list_add_tail(&buf->node, &queue->ready);
	queue->out--;
	wake_up(&queue->wait);
	if (!queue->out)
		wake_up_all(&queue->idle);
	spin_unlock_irqrestore(&queue->lock, flags);
}
