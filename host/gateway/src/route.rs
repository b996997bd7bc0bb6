//! The route table's entries: a handler, its documentation, who may call it, and what bounds its body.
//!
//! **Invariant**: a handler reaches the router only through [`Route::mount`], which puts the guard in front of it; router,
//! OpenAPI and the role matrix are all made from the same list of entries, so that no route is missing from one of them.

use std::fmt;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{MethodFilter, MethodRouter, on},
};
use lakehouse_engine::Action;
use utoipa::openapi::{
    RefOr,
    path::{HttpMethod, Operation},
    schema::Schema,
};

use crate::{
    app::App,
    credentials::Basic,
    guard::{self, Rule},
};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone, with no key. Only the health probe.
    Open,
    /// Any valid key; what it shows depends on the key's role and grants.
    AnyKey,
    /// A key whose role permits the action; grants are checked by the engine when it knows the object.
    May(Action),
}

/// What bounds a request's body and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// A JSON body up to `max_json_kib`, an answer that begins within `request_timeout_ms`.
    Small,
    /// The same body; the answer may take as long as the work does.
    Work,
    /// A file up to `max_body_mib`, streamed, with no bound in time but progress.
    File,
    /// A component up to `max_component_mib`; compiling has its own deadline.
    Component,
}

pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One entry of the table.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) rule: Rule,
    pub(crate) operation: Operation,
    pub(crate) schemas: fn(&mut Schemas),
    handler: MethodRouter<App>,
}

impl Route {
    /// An entry from what `#[utoipa::path]` made of a handler, and the handler.
    pub(crate) fn new<P, H, T>(_documentation: P, handler: H, access: Access) -> Self
    where
        P: utoipa::Path + utoipa::__dev::SchemaReferences + utoipa::__dev::Tags<'static>,
        H: Handler<T, App>,
        T: 'static,
    {
        let (method, filter) = method(P::methods().first());
        let mut operation = P::operation();
        operation.tags = Some(P::tags().into_iter().map(str::to_owned).collect());
        Self {
            method,
            path: P::path(),
            rule: Rule { access, load: Load::Small, basic: Basic::Ignored },
            operation,
            schemas: P::schemas,
            handler: on(filter, handler),
        }
    }

    /// The body is a file or a component.
    pub(crate) fn load(mut self, load: Load) -> Self {
        self.rule.load = load;
        self
    }

    /// A page that people open in a browser: it hears Basic credentials.
    pub(crate) fn page(mut self) -> Self {
        self.rule.basic = Basic::Heard;
        self
    }

    /// Adds the route to a router, behind its guard.
    pub(crate) fn mount(self, router: Router<App>, app: &App) -> Router<App> {
        let guarded = self.handler.layer(middleware::from_fn_with_state((app.clone(), self.rule), guard::guard));
        router.route(&self.path, guarded)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.rule)
    }
}

fn method(documented: Option<&HttpMethod>) -> (Method, MethodFilter) {
    match documented {
        Some(HttpMethod::Post) => (Method::POST, MethodFilter::POST),
        Some(HttpMethod::Put) => (Method::PUT, MethodFilter::PUT),
        Some(HttpMethod::Delete) => (Method::DELETE, MethodFilter::DELETE),
        Some(HttpMethod::Patch) => (Method::PATCH, MethodFilter::PATCH),
        _ => (Method::GET, MethodFilter::GET),
    }
}
