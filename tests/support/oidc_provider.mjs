// A certified provider of logins for tests: node oidc_provider.mjs PORT REDIRECT_URI
// Whoever logs in is named as they typed, and has a role of the same name.
import Provider from "oidc-provider";

const [port, redirectUri] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "watcher",
      client_secret: "a secret of the client: with %, + and /",
      redirect_uris: [redirectUri],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username"], roles: ["roles"] },
  scopes: ["openid", "profile", "roles"],
  cookies: { keys: ["a key of the tests"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: `${id} of the node`, roles: [id, "staff"] }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
