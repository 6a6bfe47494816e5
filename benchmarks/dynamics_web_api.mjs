// DynamicsWebApi: UpsertMultiple as an action, a hundred rows a call, ten at a time.
import { readFileSync } from "node:fs";
import { DynamicsWebApi } from "dynamics-web-api";

const ends = JSON.parse(readFileSync(0, "utf8"));
const rows = readFileSync(ends.rows, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const api = new DynamicsWebApi({
    serverUrl: ends.url,
    dataApi: { version: "9.2" },
    onTokenRefresh: () => ends.token,
});
const before = process.cpuUsage();
let next = 0;
let stopped = "";
async function slot() {
    while (next < rows.length && !stopped) {
        const portion = rows.slice(next, (next += 100));
        const Targets = portion.map((row) => ({
            "@odata.type": "Microsoft.Dynamics.CRM.apex_campaignmetrics",
            ...row,
        }));
        await api.callAction({
            collection: "apex_campaignmetricses",
            actionName: "Microsoft.Dynamics.CRM.UpsertMultiple",
            action: { Targets },
        });
    }
}
try {
    await Promise.all(Array.from({ length: 10 }, slot));
} catch (error) {
    stopped = `${error.name}: ${error.message}`.slice(0, 200);
}
const { user, system } = process.cpuUsage(before);
// Not maxRSS: it starts at what the parent had used when it forked.
const peak = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"));
console.log(JSON.stringify({
    cpu: (user + system) / 1e6,
    peak_kib: Number(peak[1]),
    stopped,
}));
