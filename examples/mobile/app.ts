// An app that shows whether its user is signed in and, whenever he is, calls an
// API with his token, here from five places at once.
//
//   tsc -p examples/mobile
//   export REFRESHD_KEY=$(refreshd key create phone --scope token:read --scope event:read --subject uid-1)
//   node examples/mobile/dist/app.js http://127.0.0.1:7420 shop:alice https://shop.example/me

import { ReauthError, Refreshd, signedIn, UnavailableError, type CredentialState } from "./refreshd.js";

declare const process: { argv: string[]; env: Record<string, string | undefined> }; // node's

const [, , url = "http://127.0.0.1:7420", id = "shop:alice", api = ""] = process.argv;
const refreshd = new Refreshd(url, process.env["REFRESHD_KEY"] ?? "");

function describe(now: CredentialState): string {
  switch (now.state) {
    case "deleted":
      return "nobody is signed in";
    case "logged_out":
      return "signed out";
    case "reauth_required":
      return `please sign in again (${now.reason})`;
    case "pending":
      return "signing in";
    default:
      return `signed in, until ${now.expiresAt?.toISOString() ?? "further notice"}`;
  }
}

async function call(): Promise<string> {
  try {
    const reply = await refreshd.fetch(id, api);
    return String(reply.status);
  } catch (error) {
    if (error instanceof ReauthError) return error.code; // the state will tell as well
    if (error instanceof UnavailableError) return "later";
    throw error;
  }
}

for await (const now of refreshd.state(id)) {
  console.log(`v${now.version}: ${describe(now)}`);
  if (now.state === "logged_out") break;
  if (signedIn(now)) console.log("five calls: " + (await Promise.all(Array.from({ length: 5 }, call))).join(" "));
}
