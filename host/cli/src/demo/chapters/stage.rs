//! The server, and who asks it.

use crate::{
    args::Demo,
    client::Client,
    demo::{components::Components, lake::Lake, narrator::Narrator},
    failure::{Failure, plain},
};

pub(in crate::demo) struct Stage {
    pub(super) components: Components,
    pub(super) lake: Lake,
    pub(super) admin: Client,
    /// The reader's key, once there is one.
    pub(super) reader_key: Option<String>,
    /// The key that searches, once there is one.
    pub(super) recruiter_key: Option<String>,
    /// Whether there is an index to search.
    pub(super) is_indexed: bool,
}

impl Stage {
    /// Starts the server: the first chapter.
    pub(in crate::demo) async fn open(narrator: &mut Narrator, demo: &Demo) -> Result<Self, Failure> {
        narrator.begin("start a server of its own");
        let components = Components::find(demo.plugins.as_deref())?;
        let lake = Lake::start(&components).await?;
        let admin = lake.admin()?;
        narrator.show(format!("{}, data in {}", lake.url(), lake.folder().display()));
        let health = health(&admin).await?;
        narrator.check(health == "ok", format!("/health: {health}"));
        let plugins = admin.list(&["plugins"], "plugins").await?;
        let names: Vec<String> = plugins.iter().filter_map(|plugin| plugin.get("name")).map(plain).collect();
        narrator.check(names.iter().any(|name| name == "redact-mask"), format!("components installed: {}", names.join(", ")));
        narrator.check(admin.events().await? == 0, "the journal is empty: a first start is no event");
        narrator.end();
        Ok(Self { components, lake, admin, reader_key: None, recruiter_key: None, is_indexed: false })
    }

    /// A client with the reader's key.
    pub(super) fn reader(&self) -> Result<Client, Failure> {
        let key = self.reader_key.as_deref().ok_or_else(|| Failure::Answer("no reader's key yet".into()))?;
        Ok(self.admin.as_key(key))
    }

    /// A client with the key that searches.
    pub(super) fn recruiter(&self) -> Result<Client, Failure> {
        let key = self.recruiter_key.as_deref().ok_or_else(|| Failure::Answer("no recruiter's key yet".into()))?;
        Ok(self.admin.as_key(key))
    }

    /// Stops the server and clears up.
    pub(in crate::demo) async fn close(self, keep: bool, narrator: &Narrator) -> Result<(), Failure> {
        if let Some(folder) = self.lake.close(keep).await? {
            narrator.aside(&format!("kept: {} (lakehouse serve --data {})", folder.display(), folder.join("data").display()));
        }
        Ok(())
    }
}

/// The one word that the server says of itself.
pub(super) async fn health(client: &Client) -> Result<String, Failure> {
    let health = client.get(&["health"]).await?;
    Ok(health.get("status").map_or_else(|| health.to_string(), plain))
}
