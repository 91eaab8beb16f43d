package aws

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

var errNoAdvice = errors.New("no noticeTime")

// readRebalance reads the item events/recommendations/rebalance:
//
//	{"noticeTime": "2020-10-27T08:22:00Z"}
//
// by the EC2 user guide, "EC2 instance rebalance recommendations": the instance is at
// elevated risk of interruption. The time is when that was said, by the cloud's clock, and
// no deadline; there is none, and the interruption may never come. The item was never seen
// to vanish again, so how long it counts is not for this package to say. An object that has
// the field is an advice, whatever the field holds.
func readRebalance(r metadata.Reply) ([]agent.Sighting, error) {
	var document map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &document); err != nil {
		return nil, err
	}
	emitted, found := document["noticeTime"]
	if !found {
		return nil, errNoAdvice
	}
	return []agent.Sighting{{
		Kind:       agent.RebalanceAdvice,
		State:      agent.Advisory,
		ServerTime: r.Date,
		Emitted:    moment(time.RFC3339, plain(emitted)),
		Raw:        metadata.Cut(r.Body, agent.MaxRaw),
	}}, nil
}
