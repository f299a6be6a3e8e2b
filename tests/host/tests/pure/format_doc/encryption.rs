// SPDX-License-Identifier: GPL-2.0

//! The parameters of encryptors.

use dormouse_host::image::cipher::params::{KeyType, Params, FIXED_BYTES};

use super::{compare, version, Change, Fixed, Part, Whole};

const PARAMS: Params<'static> = Params {
    key_type: KeyType::User,
    description: "d",
    hint: "",
    salt: [0; 32],
    wrapped: [0; 48],
};

fn bytes(params: &Params<'_>) -> Vec<u8> {
    let mut out = [0; 1024];
    params.encode(&mut out).unwrap();
    out[..FIXED_BYTES].to_vec()
}

#[test]
fn parameters() {
    let with = |change: &dyn Fn(&mut Params<'static>)| {
        let mut params = PARAMS;
        change(&mut params);
        bytes(&params)
    };
    let changes: Vec<(&str, Change)> = vec![
        ("version", version()),
        (
            "key_type",
            Part(with(&|p| p.key_type = KeyType::Encrypted), &[]),
        ),
        (
            "description_len",
            Part(with(&|p| p.description = "de"), &[]),
        ),
        ("hint_len", Part(with(&|p| p.hint = "hint"), &[])),
        ("reserved", Fixed(vec![0; 4])),
        ("salt", Whole(with(&|p| p.salt = [0xff; 32]))),
        ("wrapped", Whole(with(&|p| p.wrapped = [0xff; 48]))),
    ];
    compare("Encryption parameters", &bytes(&PARAMS), changes);
}
