use std::{collections::BTreeSet, path::Path, time::Duration};

use lakehouse_types::BucketName;

use super::Settings;
use crate::{BucketSettings, LogFormat, SettingsError};

const SHIPPED: &str = include_str!("../../../../config/lakehouse.toml");

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, Path::new("lakehouse.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn the_shipped_file_states_the_defaults() {
    assert_eq!(parse(SHIPPED).unwrap(), Settings::default());
    assert_eq!(parse("").unwrap(), Settings::default());
}

/// Every key that some section asks for, learnt from the sources: a key that is read but not shipped is a key nobody finds.
#[test]
fn the_shipped_file_explains_every_key() {
    let sources = [
        include_str!("../server.rs"),
        include_str!("../query.rs"),
        include_str!("../plugins.rs"),
        include_str!("../storage.rs"),
        include_str!("../source.rs"),
    ];
    let readers = ["integer", "count", "millis", "mib", "kib", "flag", "text", "choice", "path", "optional_path", "list"];
    let mut keys = BTreeSet::new();
    for source in sources {
        for reader in readers {
            for call in source.split(&format!(".{reader}(")).skip(1) {
                if let Some(key) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    keys.insert(key);
                }
            }
        }
    }
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let is_stated = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = "));
        assert!(SHIPPED.lines().any(is_stated), "{key} is not in the shipped file");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_section_and_the_close_match() {
    for (text, expected) in [
        ("[query]\ndeadline_m = 1", "lakehouse.toml:2: unknown key \"deadline_m\" in [query]; did you mean \"deadline_ms\"?"),
        ("[query]\n\nzebra = 1", "lakehouse.toml:3: unknown key \"zebra\" in [query]"),
        ("[qury]\n", "lakehouse.toml:1: unknown section [qury]; did you mean [query]?"),
        ("listen = \"x\"", "lakehouse.toml:1: unknown section [listen]"),
        (
            "[buckets.primary]\nkind='local'\npath='d'\nregion='x'",
            "lakehouse.toml:4: unknown key \"region\" in [buckets.primary]",
        ),
        ("[buckets.scratch]\nknd = 'memory'\npath='x'", "unknown key \"knd\" in [buckets.scratch]; did you mean \"kind\"?"),
        (
            "[buckets.far]\nkind='s3'\nbucket='lake'\nendpont='https://x'",
            "lakehouse.toml:4: unknown key \"endpont\" in [buckets.far]; did you mean \"endpoint\"?",
        ),
        (
            "[buckets.far]\nkind='s3'\nbucket='lake'\nsecret_acces_key='hunter2'",
            "unknown key \"secret_acces_key\" in [buckets.far]; did you mean \"secret_access_key\"?",
        ),
    ] {
        assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
    }
}

#[test]
fn a_value_beyond_its_limits_is_told_the_limits() {
    for (text, expected) in [
        ("[query]\ndeadline_ms = 0", "\"deadline_ms\" in [query] must be a whole number from 10 to 3600000, not 0"),
        ("[query]\ndeadline_ms = -5", "not -5"),
        ("[query]\ndeadline_ms = 99999999999999999999", "whole number"),
        ("[query]\ndeadline_ms = 1.5", "not a decimal number"),
        ("[query]\ndeadline_ms = \"30 s\"", "not \"30 s\""),
        ("[server]\nlisten = \"localhost\"", "must be an address and a port like \"127.0.0.1:3100\""),
        ("[server]\ncors_origins = [\"app.example.com\"]", "must be a list of origins"),
        ("[server]\ncors_origins = \"*\"", "must be a list of origins"),
        ("[auth]\nenabled = \"no\"", "must be true or false"),
        ("[log]\nformat = \"xml\"", "must be one of \"text\", \"json\", not \"xml\""),
        ("[log]\nlevel = \"loud\"", "off, error, warn, info, debug or trace"),
        ("[plugins]\nfolder = \"\"", "must be a path"),
        ("[compaction]\nschedule = \"at night\"", "\"schedule\" in [compaction] must be a cron expression of five fields"),
        ("[compaction]\nschedule = \"61 3 * * *\"", "not \"61 3 * * *\""),
        ("[compaction]\nschedule = \"0 30 3 * * *\"", "five fields"),
        ("query = 3", "[query] must be a table, not a whole number"),
        ("[buckets]\nprimary = 3", "[buckets.primary] must be a table"),
        ("[buckets.Primary]\nkind='memory'", "a bucket name must be"),
        ("[buckets.more]\nkind='local'", "[buckets.more] needs a \"path\""),
        ("[buckets.more]\nkind='memory'\npath='x'", "has no meaning for kind = \"memory\""),
        ("[buckets.more]\npath='./data/more'", "[buckets.more] and [buckets.primary] share a folder"),
        ("[buckets.more]\npath='x/../data'", "share a folder"),
        ("[query]\ndeadline_ms = 90000", "\"request_timeout_ms\" in [server] is 60000, less than \"deadline_ms\""),
    ] {
        assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
    }
}

#[test]
fn every_problem_of_a_file_is_told_at_once_in_its_order() {
    let told = refusal("[query]\nthreads = -1\nmax_row = 5\n[auth]\nenabled = 1\n");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(
        lines[0].starts_with("lakehouse.toml:2:") && lines[1].contains("\"max_rows\"") && lines[2].contains("[auth]"),
        "{told}"
    );
}

#[test]
fn a_server_without_keys_listens_on_loopback_only() {
    for listen in ["127.0.0.1:3100", "127.8.0.1:80", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let settings = parse(&format!("[server]\nlisten = \"{listen}\"\n[auth]\nenabled = false\n")).unwrap();
        assert!(!settings.is_exposed(), "{listen}");
    }
    for listen in ["0.0.0.0:3100", "[::]:3100", "10.0.0.7:3100"] {
        let told = refusal(&format!("[server]\nlisten = \"{listen}\"\n[auth]\nenabled = false\n"));
        for part in ["[auth]", listen, "loopback", "enable keys"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(parse(&format!("[server]\nlisten = \"{listen}\"\n")).is_ok(), "with keys");
    }
    let mut changed = parse("[auth]\nenabled = false\n").unwrap();
    changed.server.listen = "0.0.0.0:3100".parse().unwrap();
    assert!(changed.is_exposed());
}

#[test]
fn broken_toml_names_its_line() {
    let error = parse("[query]\ndeadline_ms 3\n").unwrap_err();
    assert!(matches!(&error, SettingsError::Syntax { line: 2, .. }), "{error:?}");
    assert!(parse("[query]\nthreads = 1\nthreads = 2\n").is_err(), "a key twice");
}

#[test]
fn what_a_file_says_is_what_holds() {
    let text = "[server]\nlisten = \"[::1]:0\"\ncors_origins = [\"*\", \"http://localhost:5173\"]\n[buckets.'profile:ada']\nkind = \"memory\"\n\
                [buckets.primary]\nkind = \"memory\"\n[log]\nformat = \"json\"\nlevel = \"info,lakehouse_query=debug\"\n[query]\nmemory_mib = 0x40\n";
    let settings = parse(text).unwrap();
    assert_eq!(settings.server.listen.port(), 0);
    assert_eq!(settings.server.cors_origins.len(), 2);
    assert_eq!(settings.buckets[&BucketName::primary()], BucketSettings::Memory);
    assert!(settings.buckets.contains_key("profile:ada"));
    assert!(parse("[buckets.a]\npath='data'\n[buckets.primary]\npath='elsewhere'").is_ok(), "the default folder is then free");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.query.memory_bytes, 64 << 20);
    assert_eq!(settings.storage.meta_flush, Duration::from_millis(2));
}

#[test]
fn a_folder_is_loaded_and_its_paths_are_rooted() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Settings::load(dir.path()), Err(SettingsError::Read { .. })));
    std::fs::write(dir.path().join("lakehouse.toml"), "[buckets.far]\npath = \"/mnt/far\"\n").unwrap();
    let settings = Settings::load(dir.path()).unwrap().rooted(Path::new("/srv/lake"));
    assert_eq!(settings.truth.dir, dir.path().join("truth"));
    assert_eq!(settings.auth.access_file, dir.path().join("access.toml"));
    assert_eq!(settings.query.spill_path, Path::new("/srv/lake/spill"));
    assert_eq!(settings.plugins.cache_path, Path::new("/srv/lake/cache/components"));
    let path = |name: &str| match &settings.buckets[name] {
        BucketSettings::Local { path } => path.clone(),
        other => panic!("{name} is local, not {other:?}"),
    };
    assert_eq!((path("primary"), path("far")), ("/srv/lake/data".into(), "/mnt/far".into()));
}

fn s3(lines: &str) -> String {
    format!("[buckets.far]\nkind = 's3'\n{lines}")
}

#[test]
fn a_remote_bucket_is_what_the_file_says() {
    let settings = parse(&s3("bucket = 'lake'")).unwrap();
    let BucketSettings::S3(plain) = &settings.buckets["far"] else { panic!("{settings:?}") };
    assert_eq!((plain.path_style, plain.allow_http, &plain.keys), (false, false, &None));
    assert_eq!(settings.storage.meta_flush, Duration::from_millis(2));

    let keys = "access_key_id = 'AK'\nsecret_access_key = 'hunter2'\nsession_token_env = 'CARGO_PKG_NAME'";
    let text = format!("bucket = 'lake'\nprefix = 'a/b'\nendpoint = 'http://127.0.0.1:9000/'\nallow_http = true\n{keys}");
    let settings = parse(&s3(&text).replace("far", "primary")).unwrap();
    let BucketSettings::S3(full) = &settings.buckets["primary"] else { panic!("{settings:?}") };
    assert_eq!(full.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    assert!(full.path_style && full.prefix.as_deref() == Some("a/b"));
    let keys = full.keys.as_ref().unwrap();
    assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose()), ("AK", "hunter2"));
    assert_eq!(keys.session_token.as_ref().unwrap().expose(), "lakehouse-settings");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.storage.meta_flush, Duration::from_millis(50), "each flush of metadata is a call over a network");
}

#[test]
fn a_remote_bucket_that_cannot_work_is_refused_without_repeating_a_secret() {
    for (lines, expected) in [
        ("", "[buckets.far] needs a \"bucket\""),
        ("bucket = 'Lake'", "must be a bucket's name"),
        ("bucket = 'lake'\npath = 'x'", "\"path\" in [buckets.far] has no meaning for kind = \"s3\""),
        ("bucket = 'lake'\nprefix = '/a'", "must be a path like"),
        ("bucket = 'lake'\nprefix = 'a/../b'", "must be a path like"),
        ("bucket = 'lake'\nendpoint = 's3.example.com'", "must be a URL like"),
        ("bucket = 'lake'\nendpoint = 'http://s3.example.com'", "is plain HTTP"),
        ("bucket = 'lake'\naccess_key_id = 'hunter2'", "needs both an access key and its secret"),
        ("bucket = 'lake'\nsession_token = 'hunter2'", "needs both an access key and its secret"),
        ("bucket = 'lake'\naccess_key_id = 'AK'\nsecret_access_key = ['hunter2']", "must be a text that is not empty"),
        (
            "bucket = 'lake'\naccess_key_id = ''\nsecret_access_key = 'hunter2'",
            "\"access_key_id\" in [buckets.far] must be a text",
        ),
        (
            "bucket = 'lake'\naccess_key_id = 'AK'\nsecret_access_key = 'hunter2'\nsecret_access_key_env = 'PATH'",
            "has both \"secret_access_key\" and \"secret_access_key_env\"",
        ),
        (
            "bucket = 'lake'\naccess_key_id = 'AK'\nsecret_access_key_env = 'NOT_SET_ANYWHERE'",
            "the variable \"NOT_SET_ANYWHERE\", which \"secret_access_key_env\" in [buckets.far] names, is not set",
        ),
        (
            "bucket = 'lake'\nprefix = 'a'\n[buckets.near]\nkind = 's3'\nbucket = 'lake'",
            "[buckets.near] and [buckets.far] share a folder",
        ),
    ] {
        let told = refusal(&s3(lines));
        assert!(told.contains(expected), "{lines}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let apart = "bucket = 'lake'\nprefix = 'a'\n[buckets.near]\nkind = 's3'\nbucket = 'lake'\nprefix = 'ab'";
    assert!(parse(&s3(apart)).is_ok());
}
