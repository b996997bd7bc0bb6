//! Folders of buckets that files may be imported from.
//!
//! **Invariant**: no folder in which the lakehouse keeps things of its own can be named.

use lakehouse_types::BucketName;

/// The folders of tables and of indexes; all others of ours begin with `_`.
const OWN: [&str; 2] = ["datasets", "indexes"];

/// A folder of a bucket, in `[ingest]` written `BUCKET/FOLDER/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportFolder {
    pub bucket: BucketName,
    /// With the `/` that ends it.
    pub prefix: String,
}

impl ImportFolder {
    /// What a folder must look like, for messages.
    pub(crate) const EXPECTED: &'static str =
        "folders like \"primary/incoming/\", none of them one that the lakehouse keeps things in";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (bucket, prefix) = text.split_once('/')?;
        let names = prefix.strip_suffix('/')?.split('/');
        let is_name = |name: &str| {
            !matches!(name, "" | "." | "..") && !name.chars().any(|c| c.is_control() || matches!(c, '*' | '?' | '\\'))
        };
        let first = prefix.split('/').next()?.to_ascii_lowercase();
        let is_own = first.starts_with('_') || OWN.contains(&first.as_str());
        let bucket = BucketName::new(bucket).ok()?;
        (!is_own && names.clone().all(is_name)).then(|| Self { bucket, prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::ImportFolder;

    #[test]
    fn own_folders_cannot_be_named() {
        for (text, prefix) in [
            ("primary/incoming/", Some("incoming/")),
            ("profile:ada/in/2026/", Some("in/2026/")),
            ("primary/incoming", None),
            ("primary/", None),
            ("primary", None),
            ("/incoming/", None),
            ("primary/datasets/", None),
            ("primary/Datasets/x/", None),
            ("primary/indexes/", None),
            ("primary/_meta/", None),
            ("primary/_plugins/sha256/", None),
            ("primary/in/../_meta/", None),
            ("primary/./", None),
            ("primary//in/", None),
            ("primary/in*/", None),
        ] {
            assert_eq!(ImportFolder::parse(text).map(|folder| folder.prefix).as_deref(), prefix, "{text}");
        }
    }
}
