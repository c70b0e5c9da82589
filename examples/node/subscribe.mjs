// Prints the delivery events of one source, a line each. A durable consumer: stopped and started again, it goes on
// where it was. With an id it ends once that notification is final.
//
//   node subscribe.mjs [<id>]             NATS_URL=nats://127.0.0.1:4222 where it is not there
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const [wanted] = process.argv.slice(2);
const servers = process.env.NATS_URL ?? "nats://127.0.0.1:4222";
// Where answers come to: permissions can keep others from listening there.
const nc = await connect({ servers, inboxPrefix: "_INBOX_shop" });

// Where services have accounts of their own, JetStream is asked under another name: pointsman.js. And they may not ask
// about the account, as a check would.
const apiPrefix = process.env.NATS_JS_API ?? "$JS.API";
const manager = await jetstreamManager(nc, { apiPrefix, checkAPI: false });
await manager.consumers.add("DELIVERIES", {
  durable_name: "shop_events",
  filter_subject: "deliveries.shop.>",
  ack_policy: AckPolicy.Explicit,
  deliver_policy: DeliverPolicy.All,
});
const consumer = await jetstream(nc, { apiPrefix }).consumers.get("DELIVERIES", "shop_events");

for await (const message of await consumer.consume()) {
  const { notification_id, status, final, channel, reason } = message.json();
  console.log(JSON.stringify({ notification_id, status, final, channel, reason }));
  message.ack(); // after the work is done; an event may come twice, event_id tells
  if (final && notification_id === wanted) break;
}
await nc.drain();
