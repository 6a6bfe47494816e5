// What dynamics-web-api, a JavaScript client, is asked to do; prints JSON.
import { DynamicsWebApi } from "dynamics-web-api";

const [url, token] = process.argv.slice(2);
const api = new DynamicsWebApi({
    serverUrl: url,
    dataApi: { version: "9.2" },
    onTokenRefresh: () => token,
});
const seen = {};
const contact = await api.create({
    collection: "contacts",
    data: { firstname: "Ada", lastname: "Lovelace" },
    returnRepresentation: true,
    select: ["fullname"],
});
seen.fullname = contact.fullname;
const account = await api.create({
    collection: "accounts",
    data: {
        name: "one",
        "primarycontactid@odata.bind": `contacts(${contact.contactid})`,
    },
});
const read = await api.retrieve({
    collection: "accounts",
    key: account,
    select: ["name", "_primarycontactid_value"],
    expand: [{ property: "primarycontactid", select: ["fullname"] }],
    includeAnnotations: "*",
});
seen.expanded = read.primarycontactid.fullname;
seen.formatted = read["_primarycontactid_value@OData.Community.Display.V1.FormattedValue"];
const property = await api.retrieve({
    collection: "accounts",
    key: account,
    select: ["/name"],
});
seen.property = property.value;
await api.updateSingleProperty({
    collection: "accounts",
    key: account,
    fieldValuePair: { name: "two" },
});
await api.update({ collection: "accounts", key: account, data: { telephone1: "1" } });
await api.disassociateSingleValued({
    collection: "accounts",
    primaryKey: account,
    navigationProperty: "primarycontactid",
});
await api.associate({
    collection: "contacts",
    primaryKey: contact.contactid,
    relationshipName: "account_primary_contact",
    relatedCollection: "accounts",
    relatedKey: account,
});
const related = await api.retrieveMultiple({
    collection: "accounts",
    select: ["name"],
    filter: "primarycontactid/fullname eq 'Ada Lovelace'",
    orderBy: ["name desc"],
    count: true,
});
seen.related = related.value.map((each) => each.name);
seen.count = related.oDataCount;
api.startBatch();
api.create({ collection: "accounts", data: { name: "three" } });
api.create({ collection: "accounts", data: { name: "four" } });
await api.executeBatch();
const all = await api.retrieveAll({ collection: "accounts", select: ["name"], maxPageSize: 2 });
seen.all = all.value.map((each) => each.name).sort();
seen.number = await api.count({ collection: "accounts" });
const who = await api.callFunction({ functionName: "WhoAmI" });
seen.user = Boolean(who.UserId);
const table = await api.retrieveEntity({
    key: "LogicalName='account'",
    select: ["LogicalName", "ObjectTypeCode", "IsCustomizable"],
});
seen.table = table.ObjectTypeCode;
const relationship = await api.retrieveRelationship({
    key: "SchemaName='account_primary_contact'",
    castType: "Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata",
});
seen.referenced = relationship.ReferencedEntity;
for (const [name, ask] of [
    ["fetch", () => api.fetch({ collection: "accounts", fetchXml: "<fetch/>" })],
    ["csdl", () => api.retrieveCsdlMetadata()],
    ["choices", () => api.retrieveGlobalOptionSets()],
    ["caller", () => api.retrieveMultiple({ collection: "accounts", impersonate: who.UserId })],
]) {
    seen[name] = await ask().then(() => 200, (error) => error.status);
}
await api.deleteRecord({ collection: "accounts", key: account });
console.log(JSON.stringify(seen));
