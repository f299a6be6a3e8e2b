// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: TCP connections.
 */

#include <linux/err.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/jiffies.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "shim.h"
#include "shim_thread.h"

/* How long one call may wait for the other side. */
#define TICK_MS		250

/* Bytes under way in each direction: they are memory that is scarce. */
#define BUFFER_BYTES	SZ_1M

/* Probes of a connection on which nothing happens, in seconds. */
#define KEEP_IDLE_S	5
#define KEEP_INTERVAL_S	3
#define KEEP_PROBES	4

/**
 * struct dormouse_sock - A TCP connection.
 * @sock: The socket.
 */
struct dormouse_sock {
	struct socket *sock;
};

/* A signal that is held ends no connection: the call is made again, as after a tick. */
static int unless_hushed(int err)
{
	return (err == -EINTR || err == -ERESTARTSYS) && dormouse_hush() ? -EAGAIN : err;
}

static void prepare(struct sock *sk, u32 timeout_ms)
{
	sock_set_keepalive(sk);
	tcp_sock_set_keepidle(sk, KEEP_IDLE_S);
	tcp_sock_set_keepintvl(sk, KEEP_INTERVAL_S);
	tcp_sock_set_keepcnt(sk, KEEP_PROBES);
	tcp_sock_set_user_timeout(sk, timeout_ms);
	tcp_sock_set_nodelay(sk);
	sock_set_rcvbuf(sk, BUFFER_BYTES / 2);

	/*
	 * Memory for what an image is written to must not wait for memory to
	 * be written; what arrives may use the reserves for the same reason.
	 */
	sk_set_memalloc(sk);
	lock_sock(sk);
	sk->sk_allocation = GFP_NOIO | __GFP_MEMALLOC;
	sk->sk_use_task_frag = false;
	sk->sk_userlocks |= SOCK_SNDBUF_LOCK;
	WRITE_ONCE(sk->sk_sndbuf, BUFFER_BYTES);
	WRITE_ONCE(sk->sk_sndtimeo, msecs_to_jiffies(TICK_MS));
	WRITE_ONCE(sk->sk_rcvtimeo, msecs_to_jiffies(TICK_MS));
	release_sock(sk);
}

/**
 * dormouse_sock_new - Make a TCP connection that leads nowhere yet.
 * @is_v6: Whether it will lead to an IPv6 address.
 * @timeout_ms: How long nothing may be acknowledged before it counts as lost.
 *
 * The connection belongs to the first network namespace, whoever calls.
 *
 * Context: Process context. May sleep. Does not wait for memory to be written.
 * Return: The connection, or an ERR_PTR(): -EAFNOSUPPORT, -ENOMEM, and others of
 * socket(2).
 */
struct dormouse_sock *dormouse_sock_new(bool is_v6, u32 timeout_ms)
{
	unsigned int noio = memalloc_noio_save();
	struct dormouse_sock *conn;
	int err = -ENOMEM;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		goto out;
	err = sock_create_kern(&init_net, is_v6 ? PF_INET6 : PF_INET, SOCK_STREAM,
			       IPPROTO_TCP, &conn->sock);
	if (err) {
		kfree(conn);
		goto out;
	}
	prepare(conn->sock->sk, timeout_ms);
out:
	memalloc_noio_restore(noio);
	return err ? ERR_PTR(err) : conn;
}

/**
 * dormouse_sock_connect - Connect to a TCP server.
 * @conn: The connection.
 * @to: Address of the server, the same in each call.
 *
 * Context: Process context. May sleep for a quarter of a second. Does not wait
 * for memory to be written.
 * Return: 0, or a negative error code: -EAGAIN when the server has not answered
 * in that time, and is to be asked again; -ETIMEDOUT, -ECONNREFUSED,
 * -ENETUNREACH, -EHOSTUNREACH, -ENOMEM, and others of connect(2).
 */
int dormouse_sock_connect(struct dormouse_sock *conn, const struct dormouse_address *to)
{
	struct sockaddr_in6 six = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(to->port),
	};
	struct sockaddr_in four = {
		.sin_family = AF_INET,
		.sin_port = htons(to->port),
	};
	unsigned int noio = memalloc_noio_save();
	int err;

	dormouse_hush();
	if (to->is_v6) {
		memcpy(&six.sin6_addr, to->bytes, sizeof(six.sin6_addr));
		err = kernel_connect(conn->sock, (struct sockaddr *)&six, sizeof(six), 0);
	} else {
		memcpy(&four.sin_addr, to->bytes, sizeof(four.sin_addr));
		err = kernel_connect(conn->sock, (struct sockaddr *)&four, sizeof(four), 0);
	}
	memalloc_noio_restore(noio);
	/* What a wait that is over is called, the first time and later. */
	return err == -EINPROGRESS || err == -EALREADY ? -EAGAIN : unless_hushed(err);
}

/**
 * dormouse_sock_send - Send bytes.
 * @conn: The connection.
 * @bytes: The bytes.
 * @len: How many, at most INT_MAX.
 * @more: True if more follows at once.
 *
 * Context: Process context. May sleep for a quarter of a second.
 * Return: How many were sent, or a negative error code: -EAGAIN when none could
 * be sent in that time, -EPIPE, -ECONNRESET, -ETIMEDOUT when the connection is
 * gone.
 */
ssize_t dormouse_sock_send(struct dormouse_sock *conn, const void *bytes, size_t len,
			   bool more)
{
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0) };
	struct kvec vec = { .iov_base = (void *)bytes, .iov_len = len };
	unsigned int noreclaim = memalloc_noreclaim_save();
	ssize_t sent;

	dormouse_hush();
	sent = kernel_sendmsg(conn->sock, &msg, &vec, 1, len);
	memalloc_noreclaim_restore(noreclaim);
	return sent < 0 ? unless_hushed(sent) : sent;
}

/**
 * dormouse_sock_receive - Receive bytes.
 * @conn: The connection.
 * @bytes: Where to put them.
 * @len: At most so many, and no more than INT_MAX.
 *
 * Context: Process context. May sleep for a quarter of a second.
 * Return: How many there were, 0 when the other side has closed, or a negative
 * error code: -EAGAIN when there were none in that time, -ECONNRESET,
 * -ETIMEDOUT when the connection is gone.
 */
ssize_t dormouse_sock_receive(struct dormouse_sock *conn, void *bytes, size_t len)
{
	struct kvec vec = { .iov_base = bytes, .iov_len = len };
	unsigned int noreclaim = memalloc_noreclaim_save();
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL };
	ssize_t got;

	dormouse_hush();
	got = kernel_recvmsg(conn->sock, &msg, &vec, 1, len, msg.msg_flags);
	memalloc_noreclaim_restore(noreclaim);
	return got < 0 ? unless_hushed(got) : got;
}

/**
 * dormouse_sock_close - End a connection and free it.
 * @conn: The connection.
 * @orderly: True to send what was not sent yet, and then the end; false to
 *           forget about it. Neither waits for the other side.
 *
 * Context: Process context. May sleep.
 */
void dormouse_sock_close(struct dormouse_sock *conn, bool orderly)
{
	sk_clear_memalloc(conn->sock->sk);
	if (!orderly)
		sock_no_linger(conn->sock->sk);
	sock_release(conn->sock);
	kfree(conn);
}

#if IS_ENABLED(CONFIG_DORMOUSE_KUNIT_TEST)

/* The other side of a connection, for tests. */

static int bring_loopback_up(void)
{
	struct net_device *lo = init_net.loopback_dev;
	int err;

	rtnl_lock();
	err = dev_change_flags(lo, lo->flags | IFF_UP, NULL);
	rtnl_unlock();
	return err;
}

/**
 * dormouse_sock_listen - Listen on the loopback.
 * @port: Where to put the port, one that nobody else uses.
 *
 * Context: Process context. May sleep.
 * Return: What dormouse_sock_accept() and dormouse_sock_close() take, or an
 * ERR_PTR().
 */
struct dormouse_sock *dormouse_sock_listen(u16 *port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct dormouse_sock *conn;
	int err;

	err = bring_loopback_up();
	if (err)
		return ERR_PTR(err);
	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return ERR_PTR(-ENOMEM);
	err = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &conn->sock);
	if (err) {
		kfree(conn);
		return ERR_PTR(err);
	}
	prepare(conn->sock->sk, TICK_MS);
	err = kernel_bind(conn->sock, (struct sockaddr *)&at, sizeof(at));
	if (!err)
		err = kernel_listen(conn->sock, 4);
	if (!err)
		err = kernel_getsockname(conn->sock, (struct sockaddr *)&at);
	if (err < 0) {
		dormouse_sock_close(conn, false);
		return ERR_PTR(err);
	}
	*port = ntohs(at.sin_port);
	return conn;
}

/**
 * dormouse_sock_accept - Take a connection that somebody has made.
 * @listener: From dormouse_sock_listen().
 *
 * Context: Process context. May sleep for a quarter of a second.
 * Return: The connection, or an ERR_PTR(): -EAGAIN if there was none.
 */
struct dormouse_sock *dormouse_sock_accept(struct dormouse_sock *listener)
{
	struct dormouse_sock *conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	int err;

	if (!conn)
		return ERR_PTR(-ENOMEM);
	err = kernel_accept(listener->sock, &conn->sock, 0);
	if (err) {
		kfree(conn);
		return ERR_PTR(err);
	}
	prepare(conn->sock->sk, TICK_MS);
	return conn;
}

#endif /* CONFIG_DORMOUSE_KUNIT_TEST */
