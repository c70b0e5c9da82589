// Publishes one notification. It knows the contract and a NATS client, and nothing else of Pointsman.
//
//   node publish.mjs <id> <to> <text>     NATS_URL=nats://127.0.0.1:4222 where it is not there
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const [id, to, text] = process.argv.slice(2);
if (!text) {
  console.error("usage: node publish.mjs <id> <to> <text>");
  process.exit(2);
}

const servers = process.env.NATS_URL ?? "nats://127.0.0.1:4222";
// Where answers come to: permissions can keep others from listening there.
const nc = await connect({ servers, inboxPrefix: "_INBOX_shop" });
const notification = { id, to, content: { text }, metadata: { from: "node" } };

// notifications.<lane>.<source>: the lane says how urgent it is, the source who publishes.
// The acknowledgement means: stored. Without one, publish the same again: the id makes it one notification.
const ack = await jetstream(nc).publish("notifications.normal.shop", JSON.stringify(notification));
console.log(JSON.stringify({ stream: ack.stream, sequence: ack.seq }));
await nc.close();
