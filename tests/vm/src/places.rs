// SPDX-License-Identifier: GPL-2.0

//! Where images can be, and how they are found there.

use crate::Scenario;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[];
