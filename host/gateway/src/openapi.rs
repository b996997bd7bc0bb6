//! The OpenAPI document, from the route table.
//!
//! **Invariant**: it lists exactly the routes of the table; every operation tells its problems and, unless it is open, its key.

use std::collections::BTreeMap;

use lakehouse_types::Code;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, HttpMethod, Info, KnownFormat, OpenApi, OpenApiBuilder, Paths, Ref, RefOr,
        ResponseBuilder, Schema, SchemaFormat,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    problem::{self, MEDIA_TYPE},
    route::{Access, Load, Route},
};

/// The body of a failed request, as RFC 9457 has it.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "documents the members that `Problem::body` writes")]
pub(crate) struct ProblemBody {
    /// Where the code is explained.
    #[schema(example = "/problems/unknown-bucket")]
    r#type: String,
    title: String,
    status: u16,
    /// The stable code.
    code: ProblemCode,
    /// What was wrong, where, and what would be right.
    detail: String,
    /// `fix_request`, `authenticate`, `get_permission`, `retry`, `check_outcome` or `report`.
    action: String,
    /// The id to report and to find in the server's log.
    request_id: String,
}

/// The codes of [`Code::ALL`].
#[derive(Debug)]
struct ProblemCode;

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        let codes = Code::ALL.iter().map(|code| code.as_str());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).description(Some("A stable problem code")).into()
    }
}

impl ToSchema for ProblemCode {}

/// A body that is no JSON.
#[derive(Debug)]
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Binary {}

/// A form with a file.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents a form")]
pub(crate) struct FileForm {
    file: Binary,
}

/// Builds the document.
pub(crate) fn document(routes: &[Route]) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut schemas);
    for route in routes {
        (route.schemas)(&mut schemas);
        paths.add_path_operation(&route.path, vec![http_method(&route.method)], complete(route));
    }
    let mut info = Info::new("Lakehouse", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Rows in, governed rows out. Every rule that touches data is a WebAssembly component that an operator swaps while the \
         server runs. Failures are RFC 9457 problems; `/problems/{code}` explains each code."
            .into(),
    );
    let schemas: BTreeMap<String, RefOr<Schema>> = schemas.into_iter().collect();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

/// Adds what all operations share.
fn complete(route: &Route) -> Operation {
    let mut operation = route.operation.clone();
    let mut codes = vec!["400"];
    if route.rule.access == Access::Open {
        operation.security = Some(Vec::new());
    } else {
        let any = [SecurityRequirement::new("bearer", [""; 0]), SecurityRequirement::new("api_key", [""; 0])];
        operation.security = Some(any.to_vec());
        // A profile that does not exist, a key that asks too fast.
        codes.extend(["401", "403", "404", "429"]);
        let profile = ParameterBuilder::new()
            .name("X-Lakehouse-Profile")
            .parameter_in(ParameterIn::Header)
            .description(Some("The profile to run under; else the key's own, else `default`."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(profile));
    }
    if route.method == http::Method::DELETE {
        codes.push("409");
    }
    if route.rule.load != Load::Small || operation.request_body.is_some() || operation.responses.responses.contains_key("202") {
        codes.extend(["409", "413", "422", "502", "504"]);
    }
    codes.extend(["500", "503", "default"]);
    for code in codes {
        operation.responses.responses.entry(code.to_owned()).or_insert_with(|| RefOr::T(problem_response(code)));
    }
    operation
}

fn problem_response(code: &str) -> utoipa::openapi::Response {
    let kinds: Vec<&str> =
        Code::ALL.iter().filter(|known| problem::usual_status(**known).as_str() == code).map(|known| known.as_str()).collect();
    let description = if kinds.is_empty() { "A problem.".to_owned() } else { format!("A problem: {}.", kinds.join(", ")) };
    ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build())
        .build()
}

fn http_method(method: &http::Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        "PATCH" => HttpMethod::Patch,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lakehouse_types::Code;
    use serde_json::Value;

    use super::document;
    use crate::{route::Access, routes};

    fn json() -> Value {
        serde_json::from_str(&document(&routes::all()).to_json().unwrap()).unwrap()
    }

    /// What clients are built on: a route that goes, or that comes, is a change of this file.
    const ROUTES: &str = include_str!("../golden/routes.txt");

    #[test]
    fn the_document_lists_exactly_the_known_routes() {
        let document = json();
        let listed: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let known: Vec<&str> = ROUTES.lines().collect();
        assert!(known.is_sorted(), "the golden list is in order");
        assert_eq!(listed.iter().map(String::as_str).collect::<Vec<_>>(), known);
        assert_eq!(routes::all().len(), known.len(), "a route is in the table twice");
    }

    #[test]
    fn a_body_that_may_be_left_out_is_not_required() {
        let document = json();
        let body = |path: &str| document["paths"][path]["post"]["requestBody"].clone();
        assert_ne!(body("/plugins/{name}/rollback")["required"], true);
        assert_eq!(body("/plugins/{name}/dry-run")["required"], true);
    }

    #[test]
    fn only_health_is_open_and_every_operation_tells_its_problems_and_its_name() {
        let document = json();
        let mut names = BTreeSet::new();
        for route in routes::all() {
            let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
            assert_eq!(route.rule.access == Access::Open, route.path == "/health", "{route:?}");
            assert_eq!(operation["security"].as_array().unwrap().is_empty(), route.path == "/health", "{route:?}");
            assert_eq!(
                operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"],
                "#/components/schemas/Problem"
            );
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{route:?}");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{route:?}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{route:?}");
        }
    }

    #[test]
    fn every_reference_is_defined_and_every_code_is_listed() {
        let document = json();
        let text = document.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "schema {name} is missing");
        }
        let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
        assert_eq!(codes.len(), Code::ALL.len());
    }

    #[test]
    fn variable_segments_are_documented_parameters() {
        let document = json();
        for route in routes::all() {
            let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
            for segment in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let documented = operation["parameters"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["in"] == "path" && one["name"] == segment));
                assert!(documented, "{route:?}: {segment}");
            }
        }
    }
}
