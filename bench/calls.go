package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/placement"
)

// The API server's own counts of what it asks webhooks.
const (
	webhookRequests   = "apiserver_admission_webhook_request_total"
	webhookFailOpen   = "apiserver_admission_webhook_fail_open_count"
	webhookRejections = "apiserver_admission_webhook_rejection_count"
)

// calls is how often an API server has called the placement webhook, by its own count.
type calls struct {
	// all are those that ended, however they did.
	all int
	// failed are those that ended with another status than 200.
	failed int
	// ignored are the pods that were let through because a call failed, and refused
	// those that were not.
	ignored, refused int
}

// since returns what came after an earlier count.
func (c calls) since(before calls) calls {
	return calls{
		all: c.all - before.all, failed: c.failed - before.failed,
		ignored: c.ignored - before.ignored, refused: c.refused - before.refused,
	}
}

// wrong is how many calls failed. A call that failed shows as such, and again as what
// became of its pod: the largest of the counts is the truth, should one of them not be
// kept any more by a later API server.
func (c calls) wrong() int { return max(c.failed, c.ignored, c.refused) }

// countCalls asks the API server.
func countCalls(ctx context.Context, client kubernetes.Interface) (calls, error) {
	text, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return calls{}, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	return parseCalls(text)
}

// parseCalls counts by a page of metrics. A series that is not there has not happened.
func parseCalls(text []byte) (calls, error) {
	// Of megabytes a few lines are ours.
	var ours bytes.Buffer
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("apiserver_admission_webhook_")) {
			ours.Write(line)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&ours)
	if err != nil {
		return calls{}, fmt.Errorf("parsing the API server's metrics: %w", err)
	}
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, slices.Collect(maps.Values(families))...)
	if err != nil {
		return calls{}, fmt.Errorf("parsing the API server's metrics: %w", err)
	}
	var c calls
	for _, sample := range samples {
		if !isOurs(string(sample.Metric["name"])) {
			continue
		}
		n := int(sample.Value)
		switch sample.Metric[model.MetricNameLabel] {
		case webhookRequests:
			c.all += n
			if sample.Metric["code"] != "200" {
				c.failed += n
			}
		case webhookFailOpen:
			c.ignored += n
		case webhookRejections:
			c.refused += n
		}
	}
	return c, nil
}

// isOurs says whether a webhook is an entry of placement's.
func isOurs(webhook string) bool {
	return webhook == placement.EntryName || webhook == placement.SystemEntryName
}
