// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with an image.

#![forbid(unsafe_code)]

use core::fmt;

/// Why a part of an image was refused, or could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the part needs.
    Truncated,
    /// The caller's buffer or table is full.
    NoRoom,
    /// The magic number is not the expected one.
    BadMagic,
    /// The checksum does not match the contents.
    BadCrc,
    /// A version of the format that this code does not know.
    UnknownVersion,
    /// A flag or a kind that this code does not know.
    UnknownFeature,
    /// The image was made with pages of another size.
    PageSize,
    /// A state number that does not exist.
    BadState,
    /// A change of state that the life of an image does not allow.
    BadTransition,
    /// Bytes that must be zero are not.
    NotZero,
    /// A text field is not clean UTF-8 padded with NULs, or a name has forbidden characters.
    BadText,
    /// A text or a blob is longer than its field.
    TooLong,
    /// The part carries the identity of another image.
    OtherImage,
    /// A length field contradicts the others, or exceeds its limit.
    BadLength,
    /// A count field contradicts the others, or exceeds its limit.
    BadCount,
    /// A range of page frame numbers is empty, too long or overflows.
    PageRange,
    /// A block address lies outside of the storage.
    BlockRange,
    /// Two ranges that must be disjoint overlap.
    Overlap,
    /// A transform that the header does not name was applied.
    BadTransform,
    /// A frame number above the number of frames of the image.
    BadFrameNo,
    /// A device number that the device table does not hold.
    BadDevice,
    /// Parts that follow each other carry the wrong order.
    BadOrder,
    /// The parameters of a transform make no sense.
    BadParameters,
    /// The authentication tag does not match the contents.
    BadTag,
}

impl Error {
    /// Every error, for tests and tables.
    pub const ALL: [Error; 24] = [
        Error::Truncated,
        Error::NoRoom,
        Error::BadMagic,
        Error::BadCrc,
        Error::UnknownVersion,
        Error::UnknownFeature,
        Error::PageSize,
        Error::BadState,
        Error::BadTransition,
        Error::NotZero,
        Error::BadText,
        Error::TooLong,
        Error::OtherImage,
        Error::BadLength,
        Error::BadCount,
        Error::PageRange,
        Error::BlockRange,
        Error::Overlap,
        Error::BadTransform,
        Error::BadFrameNo,
        Error::BadDevice,
        Error::BadOrder,
        Error::BadParameters,
        Error::BadTag,
    ];

    /// Returns one sentence for the log and for `last_result`, without a final full stop.
    pub const fn sentence(self) -> &'static str {
        match self {
            Error::Truncated => "the image ends before the part that was being read",
            Error::NoRoom => "a table or buffer is too small for the image",
            Error::BadMagic => "a part of the image is not where it should be",
            Error::BadCrc => "a part of the image does not match its checksum",
            Error::UnknownVersion => "the image has a format version this kernel does not know",
            Error::UnknownFeature => "the image uses a feature this kernel does not know",
            Error::PageSize => "the image was made by a kernel with another page size",
            Error::BadState => "the state of the image is not a known one",
            Error::BadTransition => "the image cannot go from its present state to the next one",
            Error::NotZero => "reserved bytes of the image are not zero",
            Error::BadText => "a text in the image contains forbidden characters",
            Error::TooLong => "a text or parameter block is too long for the image",
            Error::OtherImage => "a part of the image belongs to another, older image",
            Error::BadLength => "a length in the image is out of range",
            Error::BadCount => "a count in the image is out of range",
            Error::PageRange => "a range of pages in the image is out of range",
            Error::BlockRange => "the image points outside of its storage",
            Error::Overlap => "two parts of the image claim the same place",
            Error::BadTransform => "a frame was made by a transform the image does not name",
            Error::BadFrameNo => "the index of the image names a frame that does not exist",
            Error::BadDevice => "the block map of the image names a device that does not exist",
            Error::BadOrder => "the parts of the image are out of order",
            Error::BadParameters => "the parameters of a transform of the image make no sense",
            Error::BadTag => "a part of the image was altered: it does not match its tag",
        }
    }

    /// Returns the positive errno that describes the error to user space.
    ///
    /// `EBADMSG` for damaged contents, `EOPNOTSUPP` for contents of another version, `ENOSPC`
    /// and `EINVAL` for mistakes of the one who builds an image.
    pub const fn errno(self) -> i32 {
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        const EBADMSG: i32 = 74;
        const EOPNOTSUPP: i32 = 95;
        match self {
            Error::UnknownVersion | Error::UnknownFeature | Error::PageSize => EOPNOTSUPP,
            Error::NoRoom => ENOSPC,
            Error::TooLong | Error::BadTransition => EINVAL,
            _ => EBADMSG,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
