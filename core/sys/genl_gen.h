/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/hibernate.yaml */
/* YNL-GEN kernel header */

#ifndef _LINUX_HIBERNATE_GEN_H
#define _LINUX_HIBERNATE_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/hibernate.h>

int hibernate_nl_get_state_doit(struct sk_buff *skb, struct genl_info *info);
int hibernate_nl_get_settings_doit(struct sk_buff *skb, struct genl_info *info);
int hibernate_nl_get_result_doit(struct sk_buff *skb, struct genl_info *info);
int hibernate_nl_get_stats_doit(struct sk_buff *skb, struct genl_info *info);
int hibernate_nl_abort_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	HIBERNATE_NLGRP_EVENTS,
};

extern struct genl_family hibernate_nl_family;

#endif /* _LINUX_HIBERNATE_GEN_H */
