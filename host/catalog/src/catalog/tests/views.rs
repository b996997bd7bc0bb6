//! Views upon views, and what they said before.

use lakehouse_types::{ColumnName, Fault};
use serde_json::json;

use super::{Lake, at, by, dataset, dataset_name, safe, view, view_name};
use crate::{CatalogError, KEPT_VIEW_VERSIONS, UsedBy, ViewRecord};

fn over(name: &str, base: &str, columns: &[&str]) -> ViewRecord {
    view(&json!({"name": name, "base_dataset": base, "columns": columns}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_others_stand_on_stays() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    lake.put_view(safe()).await.unwrap();
    lake.put_view(over("few", "candidates_safe", &["id"])).await.unwrap();

    let removed = lake.catalog.edit(&by(), |_, edit| edit.remove_view(&view_name("candidates_safe"))).await.unwrap_err();
    assert_eq!(removed.members()["used_by"], json!([{"view": "few"}]));
    let removed = lake.catalog.edit(&by(), |_, edit| edit.remove_dataset(&dataset_name("candidates"))).await.unwrap_err();
    assert_eq!(removed.members()["used_by"], json!([{"view": "candidates_safe"}]));
    let circle = lake.put_view(over("candidates_safe", "few", &["id"])).await.unwrap_err();
    assert!(circle.public().contains("stand on itself"), "{circle}");

    for catalog in [lake.catalog.clone(), lake.reopened().await] {
        let snapshot = catalog.snapshot();
        let stack = snapshot.stack(snapshot.views["few"].clone()).unwrap();
        assert_eq!((stack.below().len(), stack.dataset().name.as_str()), (1, "candidates"));
        assert_eq!(snapshot.users_of_view(&view_name("candidates_safe")), [UsedBy::View(view_name("few"))]);
    }
    lake.catalog
        .edit(&by(), |_, edit| {
            edit.remove_view(&view_name("few"))?;
            edit.remove_view(&view_name("candidates_safe"))?;
            edit.remove_dataset(&dataset_name("candidates")).map(drop)
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_one_definition_and_the_last_ones_are_kept() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    let name = view_name("candidates_safe");
    let versions =
        async || lake.catalog.view_versions(&name).await.map(|kept| kept.iter().map(|one| one.version).collect::<Vec<_>>());
    assert!(matches!(versions().await.unwrap_err(), CatalogError::UnknownView { .. }));

    lake.put_view(safe()).await.unwrap();
    lake.put_view(ViewRecord { updated_at: at(8), version: 9, ..safe() }).await.unwrap();
    assert_eq!(versions().await.unwrap(), [1], "it says the same as before");
    for n in 2..=25u64 {
        let columns = vec![ColumnName::new(format!("c{n}")).unwrap()];
        lake.put_view(ViewRecord { columns, ..safe() }).await.unwrap();
    }
    for catalog in [lake.catalog.clone(), lake.reopened().await] {
        let kept = catalog.view_versions(&name).await.unwrap();
        assert_eq!(kept.len() as u64, KEPT_VIEW_VERSIONS);
        assert_eq!((kept[0].version, kept[0].columns[0].as_str()), (25, "c25"));
        assert_eq!((kept[19].version, kept[19].columns[0].as_str()), (6, "c6"));
    }
    // One of the same name begins anew, and nothing of the old one is left.
    lake.catalog.edit(&by(), |_, edit| edit.remove_view(&name)).await.unwrap();
    assert!(lake.meta.collection::<crate::ViewVersion>().all().await.unwrap().is_empty());
    lake.put_view(safe()).await.unwrap();
    assert_eq!(versions().await.unwrap(), [1]);
}

/// A view of an earlier release has no first version beside it until it is changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_of_an_older_view_is_kept_too() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    lake.catalog.edit::<_, CatalogError>(&by(), |_, edit| Ok(edit.txn().put("candidates_safe", &safe())?)).await.unwrap();
    lake.catalog.reload().await.unwrap();
    let name = view_name("candidates_safe");
    assert_eq!(lake.catalog.view_versions(&name).await.unwrap().len(), 1);
    lake.put_view(over("candidates_safe", "candidates", &["name"])).await.unwrap();
    let kept = lake.catalog.view_versions(&name).await.unwrap();
    assert_eq!(kept.iter().map(|one| (one.version, one.columns[0].as_str())).collect::<Vec<_>>(), [(2, "name"), (1, "id")]);
}
