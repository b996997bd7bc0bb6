//! What tests of this crate share: a registry over scratch storage, the built components, hostile components written as text.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arrow::array::{ArrayRef, AsArray, StringArray};
use bytes::Bytes;
use lakehouse_catalog::{Catalog, RuleBinding, RuleKind};
use lakehouse_journal::{Journal, Stamp};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Clock, PluginName, RequestId, RuleName, SystemClock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{Bindings, Compiler, PluginError, PushReport, Redactor, Registry, RegistryOptions};

pub(crate) fn name(text: &str) -> PluginName {
    PluginName::new(text).unwrap()
}

pub(crate) fn rule(text: &str) -> RuleName {
    RuleName::new(text).unwrap()
}

/// The places of the pool that nobody holds, and the turns that no long call has.
pub(crate) fn free(fixture: &Fixture) -> (usize, usize) {
    fixture.registry.snapshot().runtime.free()
}

/// Waits for `is` to hold.
pub(crate) async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// The bytes of a component that `make components` built.
pub(crate) fn component(name: &str) -> Bytes {
    let folder = std::env::var_os("LAKEHOUSE_COMPONENTS")
        .map_or_else(|| std::env::current_exe().unwrap().parent().unwrap().join("../../components"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make components`", path.display())).into()
}

pub(crate) fn wat(text: &str) -> Bytes {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}")).into()
}

/// A redactor from scratch. `core` may use the imported `$new` and must export `memory`, `cabi_realloc`, `open` and `redact`;
/// [`HONEST`] has all but the last.
pub(crate) fn redactor_wat(core: &str) -> Bytes {
    wat(&REDACTOR.replace("CORE", core))
}

/// A redactor with more beside its module: `more` is written at the component's own level.
pub(crate) fn redactor_wat_beside(core: &str, more: &str) -> Bytes {
    let place = "  (alias core export $i \"memory\"";
    wat(&REDACTOR.replace("CORE", core).replacen(place, &format!("{more}\n{place}"), 1))
}

/// `open` that accepts anything, and an allocator that never frees.
pub(crate) const HONEST: &str = r#"
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 65536))
    (func (export "open") (param i32 i32) (result i32)
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store (i32.const 68) (call $new (i32.const 7)))
      (i32.const 64))
    (func $allocate (param $bytes i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $bytes)))
      (local.get $at))"#;

/// A `cabi_realloc` without tricks.
pub(crate) const REALLOC: &str = r#"
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $allocate (local.get 3)))"#;

/// A `redact` that answers with as many empty texts.
pub(crate) const REDACT: &str = r#"
    (func (export "redact") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.store8 (i32.const 128) (i32.const 0))
      (i32.store8 (i32.const 132) (i32.const 0))
      (i32.store (i32.const 136) (i32.const 4096))
      (i32.store (i32.const 140) (local.get 3))
      (i32.const 128))"#;

/// A `redact` that answers with as many nulls.
pub(crate) const REDACT_TO_NULL: &str = r#"
    (func (export "redact") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.store8 (i32.const 128) (i32.const 0))
      (i32.store8 (i32.const 132) (i32.const 0))
      (i32.store (i32.const 136) (i32.const 4096))
      (i32.store (i32.const 140) (local.get 3))
      (i32.store8 (i32.const 152) (i32.const 1))
      (i32.store (i32.const 156) (i32.const 4096))
      (i32.store (i32.const 160) (i32.div_u (i32.add (local.get 3) (i32.const 6)) (i32.const 8)))
      (i32.const 128))"#;

const REDACTOR: &str = r#"(component
  (import "lakehouse:plugin/types@0.1.0" (instance $types
    (type $varlen' (record (field "offsets" (list s32)) (field "data" (list u8))))
    (export "varlen" (type $varlen (eq $varlen')))
    (type $values' (variant (case "text" $varlen) (case "binary" $varlen) (case "int64" (list s64))
      (case "float64" (list f64)) (case "boolean" (list u8)) (case "date32" (list s32)) (case "timestamp-micros" (list s64))))
    (export "values" (type $values (eq $values')))
    (type $column' (record (field "values" $values) (field "validity" (option (list u8)))))
    (export "column" (type $column (eq $column')))
    (type $row-error' (record (field "row" (option u32)) (field "message" string)))
    (export "row-error" (type $row-error (eq $row-error')))
    (type $error' (variant (case "invalid-config" string) (case "invalid-input" $row-error)
      (case "unsupported" string) (case "internal" string)))
    (export "error" (type $error (eq $error')))))
  (alias export $types "varlen" (type $varlen))
  (alias export $types "values" (type $values))
  (alias export $types "column" (type $column))
  (alias export $types "row-error" (type $row-error))
  (alias export $types "error" (type $error))
  (type $rule (resource (rep i32)))
  (core func $new (canon resource.new $rule))
  (core module $m (import "host" "new" (func $new (param i32) (result i32))) CORE)
  (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
  (alias core export $i "memory" (core memory $memory))
  (func $open (param "config" string) (result (result (own $rule) (error $error)))
    (canon lift (core func $i "open") (memory $memory) (realloc (func $i "cabi_realloc"))))
  (func $redact (param "self" (borrow $rule)) (param "values" $column) (result (result $column (error $error)))
    (canon lift (core func $i "redact") (memory $memory) (realloc (func $i "cabi_realloc"))))
  (component $face
    (type $varlen' (record (field "offsets" (list s32)) (field "data" (list u8))))
    (import "varlen" (type $varlen (eq $varlen')))
    (type $values' (variant (case "text" $varlen) (case "binary" $varlen) (case "int64" (list s64))
      (case "float64" (list f64)) (case "boolean" (list u8)) (case "date32" (list s32)) (case "timestamp-micros" (list s64))))
    (import "values" (type $values (eq $values')))
    (type $column' (record (field "values" $values) (field "validity" (option (list u8)))))
    (import "column" (type $column (eq $column')))
    (type $row-error' (record (field "row" (option u32)) (field "message" string)))
    (import "row-error" (type $row-error (eq $row-error')))
    (type $error' (variant (case "invalid-config" string) (case "invalid-input" $row-error)
      (case "unsupported" string) (case "internal" string)))
    (import "error" (type $error (eq $error')))
    (import "rule" (type $rule (sub resource)))
    (import "open" (func $open (param "config" string) (result (result (own $rule) (error $error)))))
    (import "redact" (func $redact (param "self" (borrow $rule)) (param "values" $column) (result (result $column (error $error)))))
    (export $rule-x "rule" (type $rule))
    (export "[static]rule.open" (func $open)
      (func (param "config" string) (result (result (own $rule-x) (error $error)))))
    (export "[method]rule.redact" (func $redact)
      (func (param "self" (borrow $rule-x)) (param "values" $column) (result (result $column (error $error))))))
  (instance $made (instantiate $face (with "varlen" (type $varlen)) (with "values" (type $values)) (with "column" (type $column))
    (with "row-error" (type $row-error)) (with "error" (type $error))
    (with "rule" (type $rule)) (with "open" (func $open)) (with "redact" (func $redact))))
  (export "lakehouse:plugin/redactor@0.1.0" (instance $made)))"#;

/// A registry over its own folder.
pub(crate) struct Fixture {
    pub(crate) registry: Arc<Registry>,
    pub(crate) journal: Journal,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) meta: Meta,
    pub(crate) data: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::open(tempfile::tempdir().unwrap(), |_| {}).await
    }

    /// With these shipped components installed.
    pub(crate) async fn with(components: &[&str]) -> Self {
        let fixture = Self::start().await;
        for component in components {
            fixture.push(component).await.unwrap();
        }
        fixture
    }

    pub(crate) async fn open(data: TempDir, change: impl FnOnce(&mut RegistryOptions)) -> Self {
        let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Local { path: data.path().join("data") } };
        let buckets = Buckets::open(vec![spec], BucketOptions::new(Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await.unwrap();
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), Arc::clone(&clock)).await.unwrap());
        let mut options = RegistryOptions {
            bucket: buckets.primary(),
            meta: meta.clone(),
            journal: journal.clone(),
            catalog: Some(Arc::clone(&catalog)),
            clock,
            cpu: Handle::current(),
            // Shared by test runs, not by users: a folder of somebody else's is refused.
            cache_path: std::env::temp_dir()
                .join(format!("lakehouse-plugins-test-cache-{}", rustix::process::geteuid().as_raw())),
            compiler: Compiler::in_process(),
            ceilings: crate::Ceilings::default(),
            pool: 64,
            queue_wait: Duration::from_millis(200),
            max_component_bytes: 16 << 20,
        };
        change(&mut options);
        let registry = Registry::open(options).await.unwrap();
        Self { registry, journal, catalog, meta, data }
    }

    /// Closes everything and opens it again.
    pub(crate) async fn restart(self) -> Self {
        let Self { registry, journal, catalog, meta, data } = self;
        drop((registry, journal, catalog));
        meta.close().await.unwrap();
        drop(meta);
        Self::open(data, |_| {}).await
    }

    pub(crate) async fn push(&self, component: &str) -> Result<PushReport, PluginError> {
        self.push_bytes(component, self::component(component)).await
    }

    pub(crate) async fn push_bytes(&self, plugin: &str, wasm: Bytes) -> Result<PushReport, PluginError> {
        self.registry.push(&stamp(), &name(plugin), wasm).await
    }

    /// Bindings with one rule, `r`.
    pub(crate) fn bindings(&self, kind: RuleKind, plugin: &str, config: Value, limit: impl FnOnce(&mut RuleBinding)) -> Bindings {
        let mut binding =
            RuleBinding { config, component: plugin.parse().unwrap(), ..RuleBinding::new(rule("r"), kind, name("x")) };
        limit(&mut binding);
        Bindings::new(self.registry.snapshot(), vec![binding])
    }

    /// An instance of a redactor under the rule `r`.
    pub(crate) async fn redactor(&self, plugin: &str, config: Value) -> Result<Redactor, PluginError> {
        self.limited_redactor(plugin, config, |_| {}).await
    }

    pub(crate) async fn limited_redactor(
        &self,
        plugin: &str,
        config: Value,
        limit: impl FnOnce(&mut RuleBinding),
    ) -> Result<Redactor, PluginError> {
        let bindings = self.bindings(RuleKind::Redactor, plugin, config, limit);
        Ok(bindings.redactor(&rule("r"), None).await?.instance())
    }
}

pub(crate) fn stamp() -> Stamp {
    Stamp {
        actor: Actor::new("tester").unwrap(),
        role: "admin".into(),
        profile: None,
        request_id: RequestId::fresh(),
        at: SystemClock.now(),
    }
}

pub(crate) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(crate) fn read(array: &ArrayRef) -> Vec<Option<String>> {
    array.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
}

/// Fails unless `work` ends within `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    let begun = std::time::Instant::now();
    let outcome = tokio::time::timeout(limit + Duration::from_secs(20), work).await.expect("it hangs");
    assert!(begun.elapsed() <= limit, "took {:?}, {limit:?} allowed", begun.elapsed());
    outcome
}
