//! Who asks the vault.

use std::env;
use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::ClientOptions;
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";

/// Where credentials come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Credentials {
    /// A secret, or a workload's token, that variables name.
    Environment,
    /// The machine's identity.
    Managed,
    /// Whoever is logged in with `az`.
    Cli,
}

impl Credentials {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "environment" => Some(Self::Environment),
            "managed" => Some(Self::Managed),
            "cli" => Some(Self::Cli),
            _ => None,
        }
    }

    pub(super) fn usual() -> Self {
        if env::var_os(TENANT).is_some() { Self::Environment } else { Self::Managed }
    }

    /// They are read anew each time.
    pub(super) fn find(self, client_options: ClientOptions) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        match (self, set(SECRET)) {
            (Self::Environment, Some(secret)) => {
                let (tenant, client) = (set(TENANT).unwrap_or_default(), set(CLIENT).unwrap_or_default());
                let options = ClientSecretCredentialOptions { client_options };
                Ok(ClientSecretCredential::new(&tenant, client, Secret::new(secret), Some(options))?)
            }
            (Self::Environment, None) => {
                let credential_options = ClientAssertionCredentialOptions { client_options };
                let options = WorkloadIdentityCredentialOptions { credential_options, ..Default::default() };
                Ok(WorkloadIdentityCredential::new(Some(options))?)
            }
            (Self::Managed, _) => {
                let user_assigned_id = set(CLIENT).map(UserAssignedId::ClientId);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                Ok(ManagedIdentityCredential::new(Some(options))?)
            }
            (Self::Cli, _) => Ok(AzureCliCredential::new(None)?),
        }
    }
}
