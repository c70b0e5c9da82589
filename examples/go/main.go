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
	nc := must(nats.Connect(nats.DefaultURL))
	defer nc.Close()
	js := must(jetstream.New(nc))

	// One notification's whole story is deliveries.<source>.*.*.<id>.
	story := jetstream.OrderedConsumerConfig{FilterSubjects: []string{"deliveries.shop.*.*." + id}}
	consumer := must(js.OrderedConsumer(ctx, "DELIVERIES", story))

	body := must(json.Marshal(map[string]any{"id": id, "to": to, "content": map[string]any{"text": text}}))
	must(js.Publish(ctx, "notifications.normal.shop", body)) // returns once it is stored

	events := must(consumer.Messages())
	defer events.Stop()
	for {
		var event struct {
			Status, Channel string
			Final           bool
		}
		if err := json.Unmarshal(must(events.Next()).Data(), &event); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Status, event.Channel)
		if event.Final {
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
