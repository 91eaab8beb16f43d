package stamp

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

var errNoMoment = errors.New("neither a moment nor anything like one")

// sighting reads the item of the notice, which is a moment and nothing else:
//
//	2015-01-05T18:02:00Z    on Alibaba Cloud
//	2018-08-18 12:05:33     on Tencent Cloud, in UTC+8
//
// What is like a moment, but in a layout that is not documented, or cut off, is a
// notice as well, with no moment: a cloud that changes how it writes dates still
// takes the machine. It is so on the word of a service that has proved itself
// only, which is for the caller to see to. Anything else is an error, though the
// status was 200: a captive proxy answers every path with its page, and a node
// must not be emptied on its word.
func (c *cloud) sighting(r metadata.Reply) (agent.Sighting, error) {
	text := strings.TrimSpace(string(r.Body))
	at := c.moment(text)
	if at.IsZero() && !likeMoment(text) {
		return agent.Sighting{}, errNoMoment
	}
	return agent.Sighting{
		Kind: agent.SpotInterruption,
		// The item does not say what becomes of the machine. Both clouds release
		// it, and a pod would survive a stop no better.
		Action:     agent.Terminate,
		State:      agent.Scheduled,
		At:         at,
		ServerTime: r.Date,
		Nominal:    c.nominal,
		Raw:        metadata.Cut(r.Body, agent.MaxRaw),
	}, nil
}

// moment is zero for what is in none of the cloud's layouts.
func (c *cloud) moment(text string) time.Time {
	for _, layout := range c.layouts {
		if t, err := time.ParseInLocation(layout, text, c.zone); err == nil {
			return t
		}
	}
	return time.Time{}
}

var (
	// dateText is a line of what dates are written with, in any layout. It has no
	// brackets, braces or quotes, so neither a page nor a document is one.
	dateText = regexp.MustCompile(`^[0-9A-Za-z ,.:/+-]{1,64}$`)
	digit    = regexp.MustCompile(`[0-9]`)
)

// leastDigits is how many digits any moment has, be it 1.1.2027: an error message
// with a status in it has fewer.
const leastDigits = 6

func likeMoment(text string) bool {
	return dateText.MatchString(text) && len(digit.FindAllStringIndex(text, leastDigits)) == leastDigits
}
