#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# dracut: puts Dormouse into the initramfs.

# called by dracut
check() {
    require_binaries /usr/sbin/dormouse || return 1
    # A kernel without Dormouse needs nothing.
    grep -q '^CONFIG_DORMOUSE=y' "${dracutsysrootdir-}/boot/config-${kernel:?}" \
        "${dracutsysrootdir-}/lib/modules/$kernel/config" 2> /dev/null && return 0
    [[ -n $(dormouse_modules) ]] || return 255
}

# called by dracut
depends() {
    # An image on a server is only found with a network.
    ! grep -qs '^writer *= *"netblock"' "${dracutsysrootdir-}/etc/dormouse.toml" || echo network
}

dormouse_modules() {
    "${dracutsysrootdir-}/usr/lib/dormouse/initramfs-modules" own "${srcmods:?}"
}

# called by dracut
installkernel() {
    local module
    for module in $(dormouse_modules); do
        # Not only what this machine has loaded.
        hostonly='' instmods "$module"
    done
    # Not all of them are there.
    # shellcheck disable=SC2046 # one argument for each
    hostonly='' instmods -o $("${dracutsysrootdir-}/usr/lib/dormouse/initramfs-modules" crypto)
}

# called by dracut
install() {
    inst_multiple cat modprobe readlink sleep
    inst_simple /usr/sbin/dormouse
    inst_simple /usr/lib/dormouse/resume
    if [[ -e ${dracutsysrootdir-}/etc/dormouse.toml ]]; then
        inst_simple /etc/dormouse.toml
    fi
    mkdir -p "${initdir:?}/usr/lib/dormouse"
    dormouse_modules > "$initdir/usr/lib/dormouse/modules"
    if dracut_module_included systemd; then
        inst_simple /usr/lib/dormouse/resume-generator \
            /etc/systemd/system-generators/systemd-hibernate-resume-generator
    fi
    # When the disks are there, and before anything is checked or mounted. systemd
    # may have looked before; without our modules it has found nothing.
    inst_hook pre-mount 05 "${moddir:?}/dormouse-resume.sh"
}
