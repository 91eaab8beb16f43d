package stamp

import (
	"net/http"
	"regexp"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// Where the clouds document their metadata services. Tencent's name is known to
// the resolvers of its networks only.
const (
	AlibabaEndpoint = "http://100.100.100.200"
	TencentEndpoint = "http://metadata.tencentyun.com"
)

// The items that are read. Both clouds have them at the same place.
const (
	itemNotice   = "/latest/meta-data/spot/termination-time"
	itemInstance = "/latest/meta-data/instance-id"
)

// cloud is how one cloud tells a termination.
type cloud struct {
	provider string
	endpoint string
	// tokens says how a token is had; nil where the service asks for none.
	tokens *tokens
	// layouts are those of a moment, zone is that of a layout without one.
	layouts []string
	zone    *time.Location
	// emptyIsNone is true where an empty item says the same as a 404.
	emptyIsNone bool
	// nominal is how long before the termination the notice comes.
	nominal time.Duration
	hints   []metadata.Hint
}

// nodeID is a Node's providerID: of Alibaba Cloud, the region and the id of the
// instance, with or without a scheme; of Tencent Cloud, the id after the zone.
var nodeID = regexp.MustCompile(`^(?:alicloud://)?[a-z0-9-]+\.(i-[a-z0-9]+)$|^qcloud://(?:[^/]*/)*(ins-[a-z0-9]+)$`)

// InstanceID is the id of the instance of a Node with that providerID, empty if it is
// of neither cloud.
func InstanceID(providerID string) string {
	parts := nodeID.FindStringSubmatch(providerID)
	if parts == nil {
		return ""
	}
	return parts[1] + parts[2]
}

// tokens is how a service hands out tokens and wants to see them.
type tokens struct {
	path, header, ttlHeader string
}

// tokenTTL is the longest lifetime that a token can have, in seconds.
const tokenTTL = "21600"

// alibaba is as Alibaba Cloud documents it: "Query the interruption events of
// preemptible instances" for the item, its layout and its 404, and "Instance
// metadata" for the tokens, which a service in security hardening mode insists on
// and any other takes. An earlier edition of the first page has an empty item
// where a later one has a 404. The five minutes are those of "Create a preemptible
// instance".
var alibaba = cloud{
	provider: "alibaba",
	endpoint: AlibabaEndpoint,
	tokens: &tokens{
		path:      "/latest/api/token",
		header:    "X-Aliyun-Ecs-Metadata-Token",
		ttlHeader: "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds",
	},
	layouts:     []string{time.RFC3339},
	zone:        time.UTC,
	emptyIsNone: true,
	nominal:     5 * time.Minute,
	hints: []metadata.Hint{
		{
			Statuses: []int{http.StatusForbidden},
			Text:     "the metadata service is switched off for this instance, or a proxy is in the way",
		},
		{
			Statuses: []int{http.StatusUnauthorized},
			Text:     "the token was not accepted",
		},
		{
			Method: http.MethodPut, Statuses: []int{http.StatusNotFound, http.StatusMethodNotAllowed},
			Text: "what answers hands out no tokens, so it is not the ECS metadata service",
		},
		{
			Statuses: []int{http.StatusNotFound},
			Text:     "what answers is not the ECS metadata service, or hides items from pods",
		},
		{
			Method: http.MethodPut, Fault: metadata.Unanswered,
			Text: "the token does not reach this pod: use hostNetwork",
		},
	},
}

// tencent is as Tencent Cloud documents it, "Querying the Repossession Status of a
// Spot Instance" (document 213/32487): the item, its layout and zone, and its 404.
// The two minutes are those of the FAQ on spot instances (document 213/17817).
var tencent = cloud{
	provider: "tencent",
	endpoint: TencentEndpoint,
	layouts:  []string{time.DateTime, time.RFC3339},
	zone:     time.FixedZone("UTC+8", 8*60*60),
	nominal:  2 * time.Minute,
	hints: []metadata.Hint{
		{
			Statuses: []int{http.StatusNotFound},
			Text:     "what answers is not the CVM metadata service, or hides items from pods",
		},
		{
			Fault: metadata.Unreached,
			Text: "nothing listens there, a firewall keeps pods from it, or its name is not known here: " +
				"only the resolvers of the VPC know it",
		},
	},
}
