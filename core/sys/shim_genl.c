// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: generic netlink family "hibernate". What there is to ask and to
 * tell is in Documentation/netlink/specs/hibernate.yaml, which genl_gen.c and
 * genl_gen.h are generated from.
 */

#include <linux/bug.h>
#include <linux/capability.h>
#include <linux/irqflags.h>
#include <linux/netlink.h>
#include <linux/string.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>
#include <net/netlink.h>

#include "genl_gen.h"
#include "shim.h"

/*
 * Room for what is told: numbers, and one sentence. A listener's queue is
 * charged for all of it.
 */
#define TOLD_BYTES	640

/*
 * What is told must not wait for memory, and must not take what is kept for
 * those that cannot do without: it is lost then.
 */
#define TOLD_GFP	(GFP_NOWAIT | __GFP_NOWARN)

/* The generated one is read-only when a module could register it. */
static struct genl_family family;
static const struct dormouse_genl_ops *family_ops;
static void *family_ctx;

static struct sk_buff *skb_of(struct dormouse_genl_msg *msg)
{
	return (struct sk_buff *)msg;
}

static int answer(struct genl_info *info)
{
	struct sk_buff *skb;
	void *header;
	int ret;

	skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	header = genlmsg_put_reply(skb, info, &family, 0, info->genlhdr->cmd);
	ret = header ? 0 : -EMSGSIZE;
	if (!ret)
		ret = family_ops->answer(family_ctx, info->genlhdr->cmd,
					 (struct dormouse_genl_msg *)skb);
	if (ret) {
		nlmsg_free(skb);
		return ret;
	}
	genlmsg_end(skb, header);
	return genlmsg_reply(skb, info);
}

int hibernate_nl_get_state_doit(struct sk_buff *skb, struct genl_info *info)
{
	return answer(info);
}

int hibernate_nl_get_settings_doit(struct sk_buff *skb, struct genl_info *info)
{
	return answer(info);
}

int hibernate_nl_get_result_doit(struct sk_buff *skb, struct genl_info *info)
{
	return answer(info);
}

int hibernate_nl_get_stats_doit(struct sk_buff *skb, struct genl_info *info)
{
	return answer(info);
}

int hibernate_nl_abort_doit(struct sk_buff *skb, struct genl_info *info)
{
	/* GENL_ADMIN_PERM asks for CAP_NET_ADMIN, which is another thing. */
	if (!netlink_capable(skb, CAP_SYS_ADMIN))
		return -EPERM;
	return family_ops->abort(family_ctx);
}

/**
 * dormouse_genl_register - Make the family known.
 * @ops: What is done when somebody asks.
 * @ctx: Argument of @ops.
 *
 * Only one at a time; the caller sees to that. It belongs to the first network
 * namespace: others have no business with the machine.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code: -EEXIST if somebody else has a family of
 * this name, -ENOMEM.
 */
int dormouse_genl_register(const struct dormouse_genl_ops *ops, void *ctx)
{
	family = hibernate_nl_family;
	family.netnsok = false;
	family_ops = ops;
	family_ctx = ctx;
	return genl_register_family(&family);
}

/**
 * dormouse_genl_unregister - Make the family unknown again.
 *
 * Waits for requests that are under way; none is begun after it.
 *
 * Context: Process context. May sleep.
 */
void dormouse_genl_unregister(void)
{
	genl_unregister_family(&family);
}

/**
 * dormouse_genl_begin - Begin to tell all listeners something.
 * @command: What kind of thing, of the enum of commands.
 *
 * Context: Any but with interrupts off, while the family is registered. Does
 * not sleep.
 * Return: A message to put attributes into and to give to dormouse_genl_end();
 * NULL if nobody listens or there is no memory.
 */
struct dormouse_genl_msg *dormouse_genl_begin(u32 command)
{
	struct sk_buff *skb;

	if (WARN_ON_ONCE(irqs_disabled()))
		return NULL;
	if (!genl_has_listeners(&family, &init_net, HIBERNATE_NLGRP_EVENTS))
		return NULL;
	skb = genlmsg_new(TOLD_BYTES, TOLD_GFP);
	if (!skb)
		return NULL;
	if (!genlmsg_put(skb, 0, 0, &family, 0, command)) {
		nlmsg_free(skb);
		return NULL;
	}
	return (struct dormouse_genl_msg *)skb;
}

/**
 * dormouse_genl_end - Send a message to all listeners, or drop it.
 * @msg: From dormouse_genl_begin(); the caller must not use it again.
 * @send: False to drop it.
 *
 * Who has no room for it does not get it, and is told so by ENOBUFS when he
 * reads. Nobody is waited for.
 *
 * Context: As dormouse_genl_begin().
 */
void dormouse_genl_end(struct dormouse_genl_msg *msg, bool send)
{
	struct sk_buff *skb = skb_of(msg);

	if (!send) {
		nlmsg_free(skb);
		return;
	}
	nlmsg_end(skb, nlmsg_hdr(skb));
	/* That nobody has got it is no error. */
	genlmsg_multicast(&family, skb, 0, HIBERNATE_NLGRP_EVENTS, TOLD_GFP);
}

/**
 * dormouse_genl_put_u8 - Put an attribute of type u8 into a message.
 * @msg: The message.
 * @attr: Which one.
 * @value: Its value.
 *
 * Context: Any context.
 * Return: 0, or -EMSGSIZE if there is no room.
 */
int dormouse_genl_put_u8(struct dormouse_genl_msg *msg, u16 attr, u8 value)
{
	return nla_put_u8(skb_of(msg), attr, value);
}

/**
 * dormouse_genl_put_u32 - Put an attribute of type u32 into a message.
 * @msg: The message.
 * @attr: Which one.
 * @value: Its value.
 *
 * Context: Any context.
 * Return: 0, or -EMSGSIZE if there is no room.
 */
int dormouse_genl_put_u32(struct dormouse_genl_msg *msg, u16 attr, u32 value)
{
	return nla_put_u32(skb_of(msg), attr, value);
}

/**
 * dormouse_genl_put_s32 - Put an attribute of type s32 into a message.
 * @msg: The message.
 * @attr: Which one.
 * @value: Its value.
 *
 * Context: Any context.
 * Return: 0, or -EMSGSIZE if there is no room.
 */
int dormouse_genl_put_s32(struct dormouse_genl_msg *msg, u16 attr, s32 value)
{
	return nla_put_s32(skb_of(msg), attr, value);
}

/**
 * dormouse_genl_put_uint - Put an attribute of type uint into a message.
 * @msg: The message.
 * @attr: Which one.
 * @value: Its value.
 *
 * Context: Any context.
 * Return: 0, or -EMSGSIZE if there is no room.
 */
int dormouse_genl_put_uint(struct dormouse_genl_msg *msg, u16 attr, u64 value)
{
	return nla_put_uint(skb_of(msg), attr, value);
}

/**
 * dormouse_genl_put_text - Put an attribute of type string into a message.
 * @msg: The message.
 * @attr: Which one.
 * @text: Its value, without a NUL.
 * @len: Bytes of it.
 *
 * Context: Any context.
 * Return: 0, or -EMSGSIZE if there is no room.
 */
int dormouse_genl_put_text(struct dormouse_genl_msg *msg, u16 attr, const char *text,
			   size_t len)
{
	struct nlattr *nla = nla_reserve(skb_of(msg), attr, len + 1);
	char *to;

	if (!nla)
		return -EMSGSIZE;
	to = nla_data(nla);
	memcpy(to, text, len);
	to[len] = '\0';
	return 0;
}
