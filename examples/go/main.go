// Publishes one notification and follows it to its end, knowing only the contract.
//
//	go mod tidy && go run . order-17 +12025550123 "Your parcel is on its way."
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go run . <id> <to> <text>")
	}
	id, to, text := os.Args[1], os.Args[2], os.Args[3]
	ctx := context.Background()
	nc := must(nats.Connect(nats.DefaultURL, nats.CustomInboxPrefix("_INBOX_shop")))
	defer nc.Close()
	js := must(jetstream.New(nc)) // NewWithAPIPrefix(nc, "pointsman.js") where services have accounts of their own

	// A durable consumer: started again, it goes on where it was. Permissions know it by its name and its filter.
	events := jetstream.ConsumerConfig{Durable: "shop_events", FilterSubject: "deliveries.shop.>"}
	consumer := must(js.CreateOrUpdateConsumer(ctx, "DELIVERIES", events))

	body := must(json.Marshal(map[string]any{"id": id, "to": to, "content": map[string]any{"text": text}}))
	must(js.Publish(ctx, "notifications.normal.shop", body)) // returns once it is stored

	messages := must(consumer.Messages())
	defer messages.Stop()
	for {
		message := must(messages.Next())
		var event struct {
			ID              string `json:"notification_id"`
			Status, Channel string
			Final           bool
		}
		if err := json.Unmarshal(message.Data(), &event); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.ID, event.Status, event.Channel)
		// After the work is done; an event may come twice, event_id tells.
		if err := message.DoubleAck(ctx); err != nil {
			log.Fatal(err)
		}
		if event.Final && event.ID == id {
			return
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
