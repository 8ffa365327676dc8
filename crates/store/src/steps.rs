//! Deploy templates, runbooks and inspection rules.

use std::sync::Arc;

use bessemer_model::{
    DeployTemplate, DeployTemplateId, InspectionRule, InspectionRuleId, Runbook, RunbookId,
};

use crate::failure::Failure;
use crate::list::Conditions;
use crate::resource::{self, Change, resource};
use crate::sql::{ToValue, args, placeholders};
use crate::store::{Store, Wakes};
use crate::{Page, StoreError};

resource! {
    DeployTemplate "deploy_template" "Deploy template" "deploy template"
    name |template| Some(&template.name);
    columns {
        id "uuid",
        name "name",
        extra "extra",
        steps "steps",
        created_at "created_at",
        updated_at "updated_at",
    }
    sortable {
        "uuid" "uuid" Text,
        "name" "name" Text,
        "created_at" "created_at" Int,
        "updated_at" "updated_at" Int,
    }
}

resource! {
    Runbook "runbook" "Runbook" "runbook"
    name |runbook| Some(&runbook.name);
    columns {
        id "uuid",
        name "name",
        description "description",
        public "public",
        owner "owner",
        disable_ramdisk "disable_ramdisk",
        extra "extra",
        steps "steps",
        traits "traits",
        created_at "created_at",
        updated_at "updated_at",
    }
    sortable {
        "uuid" "uuid" Text,
        "name" "name" Text,
        "description" "description" Text,
        "public" "public" Bool,
        "owner" "owner" Text,
        "disable_ramdisk" "disable_ramdisk" Bool,
        "created_at" "created_at" Int,
        "updated_at" "updated_at" Int,
    }
}

resource! {
    InspectionRule "inspection_rule" "Rule" "rule"
    name |_| None;
    columns {
        id "uuid",
        priority "priority",
        description "description",
        sensitive "sensitive",
        phase "phase",
        conditions "conditions",
        actions "actions",
        created_at "created_at",
        updated_at "updated_at",
    }
    sortable {
        "uuid" "uuid" Text,
        "priority" "priority" Int,
        "description" "description" Text,
        "sensitive" "sensitive" Bool,
        "phase" "phase" Text,
        "created_at" "created_at" Int,
        "updated_at" "updated_at" Int,
    }
}

/// The same four writes and three reads for each of them.
macro_rules! methods {
    ($type:ident $id:ident $create:ident $get:ident $update:ident $delete:ident) => {
        /// # Errors
        /// [`StoreError::Duplicate`] for uuid or name.
        pub async fn $create(&self, row: &$type) -> Result<(), StoreError> {
            let row = Arc::new(row.clone());
            self.write(stringify!($create), Wakes::Nobody, move |tx| {
                let row = Arc::clone(&row);
                Box::pin(async move { resource::insert(tx, &*row).await })
            })
            .await?;
            Ok(())
        }

        pub async fn $get(&self, id: $id) -> Result<Option<$type>, StoreError> {
            Ok(resource::load(&mut self.reader().await?, id).await?)
        }

        /// Changes the row as it is then; the store sets `updated_at`, the id stays.
        ///
        /// # Errors
        /// [`StoreError::NotFound`], [`StoreError::Duplicate`] for the name, [`StoreError::Refused`]
        /// with what the change refuses.
        pub async fn $update(&self, id: $id, change: Change<$type>) -> Result<$type, StoreError> {
            Ok(self
                .write(stringify!($update), Wakes::Nobody, move |tx| {
                    let change = Arc::clone(&change);
                    Box::pin(async move { resource::update(tx, id, &change).await })
                })
                .await?)
        }

        /// # Errors
        /// [`StoreError::NotFound`]
        pub async fn $delete(&self, id: $id) -> Result<(), StoreError> {
            self.write(stringify!($delete), Wakes::Nobody, move |tx| {
                Box::pin(async move { resource::delete::<$type>(tx, id).await })
            })
            .await?;
            Ok(())
        }
    };
}

impl Store {
    methods!(DeployTemplate DeployTemplateId create_deploy_template get_deploy_template
             update_deploy_template delete_deploy_template);
    methods!(Runbook RunbookId create_runbook get_runbook update_runbook delete_runbook);
    methods!(InspectionRule InspectionRuleId create_inspection_rule get_inspection_rule
             update_inspection_rule delete_inspection_rule);

    /// By UUID or name.
    pub async fn find_deploy_template(
        &self,
        ident: &str,
    ) -> Result<Option<DeployTemplate>, StoreError> {
        Ok(resource::find(&mut self.reader().await?, ident).await?)
    }

    /// # Errors
    /// [`StoreError::NotFound`] of `Marker`, [`StoreError::Refused`] for a sort key that is no column.
    pub async fn list_deploy_templates(
        &self,
        page: &Page,
    ) -> Result<Vec<DeployTemplate>, StoreError> {
        Ok(resource::page(&mut self.reader().await?, Conditions::default(), page).await?)
    }

    /// The templates that a deploy of a node with these instance traits goes by, in the order of their
    /// creation. Names without a template are passed over.
    pub async fn deploy_templates_by_names(
        &self,
        names: &[String],
    ) -> Result<Vec<DeployTemplate>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let condition = format!("name IN ({})", placeholders(1, names.len()));
        let args = names.iter().map(ToValue::to_value).collect();
        Ok(resource::all(&mut self.reader().await?, &condition, args).await?)
    }

    /// Changes the traits of the row as it is then and nothing else, not even `updated_at`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Refused`] with what the change refuses.
    pub async fn update_runbook_traits(
        &self,
        id: RunbookId,
        change: Change<Runbook>,
    ) -> Result<(), StoreError> {
        self.write("update_runbook_traits", Wakes::Nobody, move |tx| {
            let change = Arc::clone(&change);
            Box::pin(async move {
                let mut runbook: Runbook = resource::load(tx, id)
                    .await?
                    .ok_or_else(|| resource::not_found::<Runbook>(id))?;
                change(&mut runbook).map_err(Failure::from)?;
                tx.execute(
                    "UPDATE runbook SET traits = $1 WHERE uuid = $2",
                    args![runbook.traits, id],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// By UUID or name.
    pub async fn find_runbook(&self, ident: &str) -> Result<Option<Runbook>, StoreError> {
        Ok(resource::find(&mut self.reader().await?, ident).await?)
    }

    /// `project`: only what is public or owned by it.
    ///
    /// # Errors
    /// As [`Store::list_deploy_templates`].
    pub async fn list_runbooks(
        &self,
        project: Option<&str>,
        page: &Page,
    ) -> Result<Vec<Runbook>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(project) = project {
            let (owner, public) = (conditions.arg(project), conditions.arg(true));
            conditions.and(format!(
                "(runbook.owner = {owner} OR runbook.public = {public})"
            ));
        }
        Ok(resource::page(&mut self.reader().await?, conditions, page).await?)
    }

    /// # Errors
    /// As [`Store::list_deploy_templates`].
    pub async fn list_inspection_rules(
        &self,
        phase: Option<&str>,
        page: &Page,
    ) -> Result<Vec<InspectionRule>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("inspection_rule.phase", phase);
        Ok(resource::page(&mut self.reader().await?, conditions, page).await?)
    }

    /// The rules that run in a phase of inspection, in the order in which they run: highest priority first,
    /// the older of two equals first.
    pub async fn inspection_rules_of_phase(
        &self,
        phase: &str,
    ) -> Result<Vec<InspectionRule>, StoreError> {
        let mut rules: Vec<InspectionRule> = resource::all(
            &mut self.reader().await?,
            "phase = $1",
            vec![phase.to_value()],
        )
        .await?;
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        Ok(rules)
    }
}
