# SPDX-License-Identifier: GPL-2.0
#
# Thin: everything is done by `cargo xtask` (tools/xtask), which these targets
# call once cargo is there. ARGS= passes options on, as in
# `make check ARGS='--only swsusp'`.

XTASK := tools/bootstrap.sh && cargo xtask

.PHONY: help demo check bench torture kernel deb

help:
	@echo 'make demo      build, then hibernate and resume a guest, with explanations'
	@echo 'make check     run all tests'
	@echo 'make bench     compare with the kernel'\''s own hibernation'
	@echo 'make torture   run the long tests; N=50 sets how many of each'
	@echo 'make kernel    build the guest kernel and say where it is'
	@echo 'make deb       build the Debian package of the command and the boot hooks'
	@echo 'All of them install what is missing with apt, and keep what they build'
	@echo 'in $${XDG_CACHE_HOME:-~/.cache}/dormouse. Options: ARGS=..., see cargo xtask help.'

demo check bench kernel deb:
	@$(XTASK) $@ $(ARGS)

torture:
	@$(XTASK) $@ $(if $(N),-n $(N)) $(ARGS)
