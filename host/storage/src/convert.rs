//! object_store 0.13 ↔ 0.14, value by value.
//!
//! **Invariant**: an error keeps its variant, because Delta decides by it whether a commit lost a race; nothing is dropped on
//! the way except what the other version cannot say.

use object_store as new;
use object_store_13 as old;

/// Paths have one text form in both versions.
pub(crate) fn path_to_new(path: &old::path::Path) -> old::Result<new::path::Path> {
    new::path::Path::parse(path.as_ref()).map_err(|error| old::Error::Generic { store: "compat", source: Box::new(error) })
}

pub(crate) fn path_to_old(path: &new::path::Path) -> old::Result<old::path::Path> {
    Ok(old::path::Path::parse(path.as_ref())?)
}

pub(crate) fn payload_to_new(payload: old::PutPayload) -> new::PutPayload {
    payload.into_iter().collect()
}

pub(crate) fn put_options_to_new(options: old::PutOptions) -> new::PutOptions {
    let old::PutOptions { mode, tags, attributes, extensions } = options;
    new::PutOptions {
        mode: match mode {
            old::PutMode::Overwrite => new::PutMode::Overwrite,
            old::PutMode::Create => new::PutMode::Create,
            old::PutMode::Update(version) => {
                new::PutMode::Update(new::UpdateVersion { e_tag: version.e_tag, version: version.version })
            }
        },
        tags: tags_to_new(&tags),
        attributes: attributes_to_new(&attributes),
        extensions,
    }
}

pub(crate) fn multipart_options_to_new(options: old::PutMultipartOptions) -> new::PutMultipartOptions {
    let old::PutMultipartOptions { tags, attributes, extensions } = options;
    new::PutMultipartOptions { tags: tags_to_new(&tags), attributes: attributes_to_new(&attributes), extensions }
}

fn tags_to_new(tags: &old::TagSet) -> new::TagSet {
    let mut set = new::TagSet::default();
    for (key, value) in url::form_urlencoded::parse(tags.encoded().as_bytes()) {
        set.push(&key, &value);
    }
    set
}

fn attributes_to_new(attributes: &old::Attributes) -> new::Attributes {
    use new::Attribute as N;
    use old::Attribute as O;
    attributes
        .iter()
        .filter_map(|(key, value)| {
            let key = match key {
                O::ContentDisposition => N::ContentDisposition,
                O::ContentEncoding => N::ContentEncoding,
                O::ContentLanguage => N::ContentLanguage,
                O::ContentType => N::ContentType,
                O::CacheControl => N::CacheControl,
                O::StorageClass => N::StorageClass,
                O::Metadata(name) => N::Metadata(name.clone()),
                _ => return None,
            };
            Some((key, new::AttributeValue::from(value.as_ref().to_owned())))
        })
        .collect()
}

pub(crate) fn attributes_to_old(attributes: &new::Attributes) -> old::Attributes {
    use new::Attribute as N;
    use old::Attribute as O;
    attributes
        .iter()
        .filter_map(|(key, value)| {
            let key = match key {
                N::ContentDisposition => O::ContentDisposition,
                N::ContentEncoding => O::ContentEncoding,
                N::ContentLanguage => O::ContentLanguage,
                N::ContentType => O::ContentType,
                N::CacheControl => O::CacheControl,
                N::StorageClass => O::StorageClass,
                N::Metadata(name) => O::Metadata(name.clone()),
                _ => return None,
            };
            Some((key, old::AttributeValue::from(value.as_ref().to_owned())))
        })
        .collect()
}

pub(crate) fn get_options_to_new(options: old::GetOptions) -> new::GetOptions {
    let old::GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, extensions } =
        options;
    new::GetOptions {
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
        range: range.map(|range| match range {
            old::GetRange::Bounded(range) => new::GetRange::Bounded(range),
            old::GetRange::Offset(start) => new::GetRange::Offset(start),
            old::GetRange::Suffix(length) => new::GetRange::Suffix(length),
        }),
        version,
        head,
        extensions,
    }
}

pub(crate) fn copy_options_to_new(options: old::CopyOptions) -> new::CopyOptions {
    let old::CopyOptions { mode, extensions } = options;
    new::CopyOptions {
        mode: match mode {
            old::CopyMode::Overwrite => new::CopyMode::Overwrite,
            old::CopyMode::Create => new::CopyMode::Create,
        },
        extensions,
    }
}

pub(crate) fn rename_options_to_new(options: old::RenameOptions) -> new::RenameOptions {
    let old::RenameOptions { target_mode, extensions } = options;
    new::RenameOptions {
        target_mode: match target_mode {
            old::RenameTargetMode::Overwrite => new::RenameTargetMode::Overwrite,
            old::RenameTargetMode::Create => new::RenameTargetMode::Create,
        },
        extensions,
    }
}

pub(crate) fn put_result_to_old(result: new::PutResult) -> old::PutResult {
    old::PutResult { e_tag: result.e_tag, version: result.version }
}

pub(crate) fn meta_to_old(meta: new::ObjectMeta) -> old::Result<old::ObjectMeta> {
    Ok(old::ObjectMeta {
        location: path_to_old(&meta.location)?,
        last_modified: meta.last_modified,
        size: meta.size,
        e_tag: meta.e_tag,
        version: meta.version,
    })
}

pub(crate) fn list_to_old(list: new::ListResult) -> old::Result<old::ListResult> {
    Ok(old::ListResult {
        common_prefixes: list.common_prefixes.iter().map(path_to_old).collect::<old::Result<_>>()?,
        objects: list.objects.into_iter().map(meta_to_old).collect::<old::Result<_>>()?,
    })
}

pub(crate) fn error_to_old(error: new::Error) -> old::Error {
    use new::Error as N;
    use old::Error as O;
    match error {
        N::Generic { store, source } => O::Generic { store, source },
        N::NotFound { path, source } => O::NotFound { path, source },
        N::JoinError { source } => O::JoinError { source },
        N::NotSupported { source } => O::NotSupported { source },
        N::AlreadyExists { path, source } => O::AlreadyExists { path, source },
        N::Precondition { path, source } => O::Precondition { path, source },
        N::NotModified { path, source } => O::NotModified { path, source },
        N::NotImplemented { operation, implementer } => O::NotImplemented { operation, implementer },
        N::PermissionDenied { path, source } => O::PermissionDenied { path, source },
        N::Unauthenticated { path, source } => O::Unauthenticated { path, source },
        N::UnknownConfigurationKey { store, key } => O::UnknownConfigurationKey { store, key },
        // `InvalidPath`, whose source is a type of the other version, and whatever a later release adds.
        other => O::Generic { store: "compat", source: Box::new(other) },
    }
}

/// For streams that cross the other way: the caller's own error about a path it produced.
pub(crate) fn error_to_new(error: old::Error) -> new::Error {
    use new::Error as N;
    use old::Error as O;
    match error {
        O::NotFound { path, source } => N::NotFound { path, source },
        O::Precondition { path, source } => N::Precondition { path, source },
        O::AlreadyExists { path, source } => N::AlreadyExists { path, source },
        other => N::Generic { store: "compat", source: Box::new(other) },
    }
}
