#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# dracut: resumes before the root filesystem is checked or mounted. By now its
# disk is there; for another one the script waits. For nbd:// the network has to
# be up: "rd.neednet=1 ip=dhcp" does that.

# Otherwise dracut's own hook would try the same again.
/usr/lib/dormouse/resume cmdline ||
    rm -f /.resume "${hookdir:-/lib/dracut/hooks}/pre-mount/10-resume.sh"
