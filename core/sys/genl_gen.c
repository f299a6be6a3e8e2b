// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/hibernate.yaml */
/* YNL-GEN kernel source */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "genl_gen.h"

#include <uapi/linux/hibernate.h>

/* Ops table for hibernate */
static const struct genl_split_ops hibernate_nl_ops[] = {
	{
		.cmd	= HIBERNATE_CMD_GET_STATE,
		.doit	= hibernate_nl_get_state_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd	= HIBERNATE_CMD_GET_SETTINGS,
		.doit	= hibernate_nl_get_settings_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd	= HIBERNATE_CMD_GET_RESULT,
		.doit	= hibernate_nl_get_result_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd	= HIBERNATE_CMD_GET_STATS,
		.doit	= hibernate_nl_get_stats_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd	= HIBERNATE_CMD_ABORT,
		.doit	= hibernate_nl_abort_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group hibernate_nl_mcgrps[] = {
	[HIBERNATE_NLGRP_EVENTS] = { "events", },
};

struct genl_family hibernate_nl_family __ro_after_init = {
	.name		= HIBERNATE_FAMILY_NAME,
	.version	= HIBERNATE_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= hibernate_nl_ops,
	.n_split_ops	= ARRAY_SIZE(hibernate_nl_ops),
	.mcgrps		= hibernate_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(hibernate_nl_mcgrps),
};
