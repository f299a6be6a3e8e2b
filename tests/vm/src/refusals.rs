// SPDX-License-Identifier: GPL-2.0

//! What is refused, and what becomes of the image then.

use crate::Scenario;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[];
