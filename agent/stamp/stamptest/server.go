package stamptest

import (
	"fmt"
	"maps"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Cloud is whose metadata service a Server pretends to be. The value is its name
// on the command line.
type Cloud string

// The clouds.
const (
	Alibaba Cloud = "alibaba"
	Tencent Cloud = "tencent"
)

// dialect is what differs between the clouds.
type dialect struct {
	tokens bool // hands them out, and asks for one on each GET
	layout string
	zone   *time.Location
	faults metadatatest.Definitions
	items  map[string]string
	// lead is how long before a termination its notice comes.
	lead time.Duration
}

var dialects = map[Cloud]dialect{
	Alibaba: {
		tokens: true, layout: "2006-01-02T15:04:05Z", zone: time.UTC, lead: 5 * time.Minute,
		faults: append(metadatatest.Common(), metadatatest.Tokens()...).With(own...).
			WithEffect(metadatatest.EmptyBody, metadatatest.Hides),
		items: map[string]string{
			itemInstanceID: "i-bp1ebb71deebb71deebb",
			"region-id":    "eu-central-1",
			"zone-id":      "eu-central-1a",
		},
	},
	Tencent: {
		layout: time.DateTime, zone: time.FixedZone("UTC+8", 8*60*60), lead: 2 * time.Minute,
		faults: metadatatest.Common().With(own...),
		items: map[string]string{
			itemInstanceID:     "ins-ebb71de0",
			"placement/region": "eu-frankfurt",
			"placement/zone":   "eu-frankfurt-1",
		},
	},
}

// Faults are those that the service of a cloud can have; none where there is no
// such cloud. Alibaba's are Tencent's and those of tokens.
func Faults(c Cloud) metadatatest.Definitions { return dialects[c].faults }

// Options says how a Server is to be.
type Options struct {
	// Cloud is Alibaba or Tencent.
	Cloud Cloud
	// Listen is the address to listen on. Empty means a free port of 127.0.0.1.
	Listen string
	// KeepAlive lets clients reuse a connection.
	KeepAlive bool
	// Trace, if any, is called for each request before it is answered. It must
	// not call the Server.
	Trace func(metadatatest.Request)

	now func() time.Time // this machine's clock, nil means time.Now
}

// Server is a fake metadata service. Its methods may be called from several
// goroutines at a time.
type Server struct {
	*metadatatest.Server
	dialect dialect

	// The rest is guarded by Update, as Answer is.
	items  map[string]string
	tokens map[string]time.Time
}

var (
	_ metadatatest.Cloud       = (*Server)(nil)
	_ metadatatest.TokenVoider = (*Server)(nil)
)

// Start starts a Server; Close ends it. The error says that there is no such
// cloud, or why the address could not be listened on.
func Start(o Options) (*Server, error) {
	d, known := dialects[o.Cloud]
	if !known {
		return nil, fmt.Errorf("no cloud is named %q, only %s and %s", o.Cloud, Alibaba, Tencent)
	}
	s := &Server{dialect: d, items: maps.Clone(d.items), tokens: map[string]time.Time{}}
	var err error
	s.Server, err = metadatatest.Start(s, metadatatest.Options{
		Faults: d.faults, Listen: o.Listen, KeepAlive: o.KeepAlive, Trace: o.Trace, Now: o.now,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// SetItem gives an item under /latest/meta-data/ a value. The termination itself
// is set by Interrupt; an item of its name is served while there is none.
func (s *Server) SetItem(path, value string) { s.Update(func() { s.items[path] = value }) }

// RemoveItem makes an item answer 404.
func (s *Server) RemoveItem(path string) { s.Update(func() { delete(s.items, path) }) }

// ExpireTokens voids every token handed out, as if their time had come.
func (s *Server) ExpireTokens() { s.Update(s.VoidTokens) }

// VoidTokens implements metadatatest.TokenVoider; tests call ExpireTokens.
func (s *Server) VoidTokens() { clear(s.tokens) }

// Interrupt makes a notice readable now, in place of an earlier one: at is the
// moment of the termination on this machine's clock, which the reply shifts by the
// clock offset and cuts to whole seconds.
func (s *Server) Interrupt(at time.Time) {
	s.Announce(metadatatest.Notice{Name: notice, Content: at})
}

// InterruptAfter makes a notice readable after a delay; the machine is terminated
// lead later. 0 means the notice that the cloud documents.
func (s *Server) InterruptAfter(delay, lead time.Duration) {
	if lead == 0 {
		lead = s.dialect.lead
	}
	from := s.Now().Add(delay)
	s.Announce(metadatatest.Notice{Name: notice, Content: from.Add(lead), From: from})
}

// TakeBack makes the notice's item answer 404 again.
func (s *Server) TakeBack() { s.Withdraw(notice) }

// TakeBackAfter does what TakeBack does, after a delay. It does nothing when no
// notice was set.
func (s *Server) TakeBackAfter(delay time.Duration) { s.WithdrawAfter(notice, delay) }
