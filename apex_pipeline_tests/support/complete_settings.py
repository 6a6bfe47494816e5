"""Environments with complete settings."""

REAL = {
    "DATABASE_URL": "postgresql://user:pass-word@neon.example/db?sslmode=require",
    "DATAVERSE_RESOURCE": "https://org.crm.dynamics.com",
    "AZURE_TENANT_ID": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "AZURE_CLIENT_ID": "c11e0000-0000-4000-8000-00000000a9e0",
    "AZURE_CLIENT_SECRET": "secret-value",
}
