//go:build unix

// Command plain is what one would write instead of candu-loader: a query loop with
// analytics-go's defaults. No watermark, no mirror, no retries of its own, no check that
// anything arrived. Benchmarks take it as their yardstick.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	analytics "github.com/segmentio/analytics-go/v3"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	client, err := analytics.NewWithConfig(os.Getenv("CANDU_DEV_WRITE_KEY"), analytics.Config{Endpoint: os.Getenv("SEGMENT_ENDPOINT")})
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `select id, kind, coalesce(user_id, ''), coalesce(anonymous_id, ''), tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at
		from public.candu_interactions order by exported_at, id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			id                           int64
			kind, userID, anonymousID    string
			tutorial                     int64
			portal                       *int64
			segment, version, actionName *string
			at                           time.Time
		)
		if err := rows.Scan(&id, &kind, &userID, &anonymousID, &tutorial, &segment, &portal, &version, &actionName, &at); err != nil {
			return err
		}
		properties := analytics.NewProperties().Set("tutorialId", tutorial).Set("segmentId", segment).Set("portalId", portal).Set("versionId", version)
		var message analytics.Message
		if kind == "view" {
			message = analytics.Screen{MessageId: strconv.FormatInt(id, 10), UserId: userID, AnonymousId: anonymousID, Name: "tutorial.view", Timestamp: at, Properties: properties}
		} else {
			message = analytics.Track{MessageId: strconv.FormatInt(id, 10), UserId: userID, AnonymousId: anonymousID, Event: "tutorial.interaction", Timestamp: at, Properties: properties.Set("eventName", actionName)}
		}
		if err := client.Enqueue(message); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return client.Close()
}
