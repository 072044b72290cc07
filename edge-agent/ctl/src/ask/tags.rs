//! Shelf tags: the plan, what blocks it, LEDs for pickers.

use super::{Empty, Ended, Session};
use crate::args::TagCommand;
use crate::exit::Exit;
use crate::show;
use edge_api::{FlashRequest, TagPlan, Tags};

/// Tags of the largest store.
const ROWS: u32 = 20_000;

impl Session {
    pub(super) async fn tags(&self, command: &TagCommand) -> Ended {
        let color = self.screen.color;
        match command {
            TagCommand::Preview(arguments) => self.preview(arguments).await,
            TagCommand::List { bad } => {
                let reply = self.client.get(&format!("/v1/tags?limit={ROWS}&bad={bad}")).await?;
                self.print(&reply, |tags: &Tags| show::tags(tags, color))?;
                Ok(Exit::Ok)
            }
            TagCommand::Plan => {
                let reply = self.client.get("/v1/tags/plan").await?;
                self.print(&reply, |plan: &TagPlan| show::tag_plan(plan, color))?;
                Ok(Exit::Ok)
            }
            TagCommand::Flash { order, color, seconds, tags } => {
                let body = FlashRequest {
                    order: *order,
                    color: color.clone(),
                    tags: tags.clone(),
                    seconds: *seconds,
                };
                let done = format!("order {order} flashes {color} on {} tags", tags.len());
                self.order("/v1/tags/flash", &body, &done).await
            }
            TagCommand::Picked { order } => {
                let path = format!("/v1/tags/flash/{order}/done");
                self.order(&path, &Empty {}, &format!("order {order} is picked")).await
            }
        }
    }
}
