package main

import (
	"net/url"
	"time"
)

const (
	adminDeliveries     = "/benti/deliveries?"
	dashboardDeliveries = "/dashboard/deliveries?"
)

// looks are all that is asked for, in this order.
func (l *listed) looks() []look {
	always := func(path string) func() string { return func() string { return path } }
	// From a random place, with a filter.
	anywhere := func(path, filter string) func() string {
		return func() string { return path + filter + "&cursor=" + idAt(l.moment(l.rand), 0).String() }
	}
	webhook := func(path, filter string) func() string {
		return func() string { return anywhere(path, "webhook="+l.anyWebhook(l.rand)+filter)() }
	}
	between := func(span time.Duration) func() string {
		return func() string {
			at := l.moment(l.rand)
			return adminDeliveries + url.Values{"since": {at.Format(time.RFC3339Nano)}, "until": {at.Add(span).Format(time.RFC3339Nano)}}.Encode()
		}
	}
	project := "project=" + url.QueryEscape(l.tenantAsked)
	admin := []look{
		{name: "the first page", path: always(adminDeliveries)},
		{name: "a page anywhere", path: anywhere(adminDeliveries, "")},
		{name: "the last page", path: always(adminDeliveries + "cursor=" + idAt(l.since.Add(l.step()*30), 0).String())},
		{name: "500 from anywhere", path: anywhere(adminDeliveries, "limit=500")},
		{name: "`state=delivered`", path: anywhere(adminDeliveries, "state=delivered")},
		{name: "`state=pending`", path: anywhere(adminDeliveries, "state=pending")},
		{name: "`state=delivering`", path: always(adminDeliveries + "state=delivering")},
		{name: "`state=dead`", path: always(adminDeliveries + "state=dead"), through: true, wanted: 1},
		{name: "`project=`", path: anywhere(adminDeliveries, project)},
		{name: "`webhook=`", path: webhook(adminDeliveries, "")},
		{name: "`webhook=`, `state=pending`", path: webhook(adminDeliveries, "&state=pending")},
		{name: "`item=reply`", path: anywhere(adminDeliveries, "item=reply")},
		{name: "`item=media`", path: always(adminDeliveries + "item=media"), through: true, wanted: 1},
		{name: "`since=`, `until=`: a minute", path: between(time.Minute)},
		{name: "`since=`, `until=`: an hour", path: between(time.Hour)},
		{name: "`project=`, `item=reply`, `state=pending`", path: anywhere(adminDeliveries, project+"&item=reply&state=pending")},
		{name: "one delivery", path: func() string { return "/benti/deliveries/" + l.anyDelivery(l.rand) }},
		{name: "webhooks", path: func() string { return "/benti/webhooks?cursor=" + l.anyWebhook(l.rand) }},
		{name: "one webhook", path: func() string { return "/benti/webhooks/" + l.anyWebhook(l.rand) }},
		{name: "status", path: always("/benti/status")},
		{name: "in-doubt", path: always("/benti/in-doubt")},
	}
	return append(admin, l.siteLooks(always, anywhere)...)
}

func (l *listed) siteLooks(always func(string) func() string, anywhere func(_, _ string) func() string) []look {
	ofTenant := func() string { return "/v1/webhooks/" + l.webhookAsked(l.rand) + "/deliveries?" }
	return []look{
		{name: "API: the first page of a webhook's deliveries", onSite: true, path: ofTenant},
		{name: "API: a page of them anywhere", onSite: true, path: func() string { return anywhere(ofTenant(), "")() }},
		{name: "API: the webhooks of a project", onSite: true, path: always("/v1/webhooks")},
		{name: "dashboard: overview", onSite: true, path: always("/dashboard/")},
		{name: "dashboard: deliveries", onSite: true, path: always(dashboardDeliveries)},
		{name: "dashboard: deliveries anywhere", onSite: true, path: anywhere(dashboardDeliveries, "")},
		{name: "dashboard: deliveries, `state=pending`", onSite: true, path: anywhere(dashboardDeliveries, "state=pending")},
		{name: "dashboard: deliveries, `state=dead`", onSite: true, path: always(dashboardDeliveries + "state=dead")},
		{name: "dashboard: one delivery", onSite: true, path: func() string { return "/dashboard/deliveries/" + l.anyDelivery(l.rand) }},
		{name: "dashboard: webhooks", onSite: true, path: always("/dashboard/webhooks")},
		{name: "dashboard: one webhook", onSite: true, path: func() string { return "/dashboard/webhooks/" + l.anyWebhook(l.rand) }},
	}
}
