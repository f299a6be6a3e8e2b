// SPDX-License-Identifier: GPL-2.0

//! Filesystems that are served by a process or by another machine: how to tell
//! one by what waits for it.

#![forbid(unsafe_code)]

/// A kind of filesystem that somebody else serves.
#[derive(Debug, PartialEq, Eq)]
pub struct Remote {
    /// What people call it.
    pub name: &'static str,
    /// Its types, as mount names them, each with a zero byte at its end.
    pub types: &'static [&'static [u8]],
    /// How the names of its functions begin.
    functions: &'static [&'static str],
}

const KINDS: &[Remote] = &[
    Remote {
        name: "FUSE",
        types: &[b"fuse\0", b"fuseblk\0", b"virtiofs\0"],
        functions: &["fuse_", "__fuse_", "request_wait_answer"],
    },
    Remote {
        name: "NFS",
        types: &[b"nfs\0", b"nfs4\0"],
        functions: &["nfs_", "nfs3_", "nfs4_", "rpc_"],
    },
    Remote {
        name: "9p",
        types: &[b"9p\0"],
        functions: &["p9_", "v9fs_"],
    },
    Remote {
        name: "SMB",
        types: &[b"cifs\0", b"smb3\0"],
        functions: &["cifs_", "smb2_", "smb3_", "SMB2_"],
    },
    Remote {
        name: "Ceph",
        types: &[b"ceph\0"],
        functions: &["ceph_"],
    },
];

/// The kind of filesystem that a task waits for which is in the functions
/// `stack`, the innermost first; `None` for any other.
pub fn awaited<'a>(mut stack: impl Iterator<Item = &'a str>) -> Option<&'static Remote> {
    stack.find_map(|function| {
        KINDS.iter().find(|kind| {
            let mut names = kind.functions.iter();
            names.any(|name| function.starts_with(name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(stack: &[&str]) -> Option<&'static str> {
        awaited(stack.iter().copied()).map(|kind| kind.name)
    }

    #[test]
    fn the_innermost_function_with_a_name_tells() {
        let fuse = ["request_wait_answer", "fuse_simple_request", "vfs_statx"];
        assert_eq!(name(&fuse), Some("FUSE"));
        let nfs = ["rpc_wait_bit_killable [sunrpc]", "__rpc_execute [sunrpc]"];
        assert_eq!(name(&nfs), Some("NFS"));
        // A FUSE filesystem whose process waits for another server is not meant.
        assert_eq!(name(&["p9_client_rpc", "fuse_x"]), Some("9p"));
    }

    #[test]
    fn others_are_nothing_of_that() {
        assert_eq!(name(&["kernel_clone", "do_syscall_64"]), None);
        assert_eq!(name(&["xfs_nfs_get_inode"]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn types_are_strings_of_c() {
        let types = KINDS.iter().flat_map(|kind| kind.types);
        for name in types {
            assert_eq!(name.iter().position(|&b| b == 0), Some(name.len() - 1));
        }
    }
}
