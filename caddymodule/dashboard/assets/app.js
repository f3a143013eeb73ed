// Keeps the page fresh. The server tells over one event stream that something has changed; the page is then fetched
// again, and what differs in its live parts is taken over. Without this file the pages are the same, as of when they
// were loaded.
"use strict";
(() => {
	const root = document.documentElement.dataset.root;
	const light = document.getElementById("live");
	const gap = 1000; // between two fetches, in milliseconds
	let source, timer, fetching, stale, last = 0;

	function show(on, text) {
		light.classList.toggle("on", on);
		if (light.textContent !== text) light.textContent = text;
	}

	// Streams count against the few connections that a browser makes to a host, so only what is seen has one.
	function connect() {
		if (document.hidden || source) return;
		source = new EventSource(root + "live");
		source.onopen = () => show(true, "Live");
		source.addEventListener("change", refresh);
		source.onerror = () => {
			show(false, "Reconnecting");
			if (source.readyState !== EventSource.CLOSED) return;
			source = undefined;
			setTimeout(connect, 10 * gap);
		};
	}

	function disconnect() {
		if (source) source.close();
		source = undefined;
		show(false, "Paused");
	}

	function refresh() {
		stale = true;
		if (fetching || timer) return;
		timer = setTimeout(load, Math.max(0, last + gap - Date.now()));
	}

	async function load() {
		timer = undefined;
		fetching = true;
		stale = false;
		last = Date.now();
		try {
			const response = await fetch(location.href, {headers: {"Accept": "text/html"}});
			if (response.ok && !response.redirected) take(await response.text());
		} catch {
			// The stream's own error tells that the server is away.
		}
		fetching = false;
		if (stale) refresh();
	}

	function take(html) {
		const fresh = new DOMParser().parseFromString(html, "text/html");
		for (const part of document.querySelectorAll("[data-live]")) {
			const next = fresh.getElementById(part.id);
			if (next) morph(part, next);
		}
	}

	// morph makes a node like another, and leaves alone what is alike: focus, selection and what was folded open stay.
	function morph(node, next) {
		if (node.isEqualNode(next)) return;
		if (node.nodeType !== Node.ELEMENT_NODE) {
			node.nodeValue = next.nodeValue;
			return;
		}
		for (const {name} of [...node.attributes]) {
			if (!next.hasAttribute(name) && name !== "open") node.removeAttribute(name);
		}
		for (const {name, value} of next.attributes) {
			if (node.getAttribute(name) !== value && name !== "open") node.setAttribute(name, value);
		}
		let at = node.firstChild;
		for (const child of [...next.childNodes]) {
			const twin = find(at, child);
			if (!twin) {
				node.insertBefore(document.importNode(child, true), at);
				continue;
			}
			while (at !== twin) {
				const passed = at;
				at = at.nextSibling;
				passed.remove();
			}
			at = twin.nextSibling;
			morph(twin, child);
		}
		while (at) {
			const passed = at;
			at = at.nextSibling;
			passed.remove();
		}
	}

	// find looks, from a node on, for the one that stands for the other: with the same id, or, without an id, the very next of
	// the same kind.
	function find(at, other) {
		if (other.id) {
			while (at && at.id !== other.id) at = at.nextSibling;
			return at;
		}
		return at && !at.id && at.nodeType === other.nodeType && at.nodeName === other.nodeName ? at : null;
	}

	// Filters that are left empty stay out of the address.
	for (const form of document.querySelectorAll("form[method=get]")) {
		form.addEventListener("formdata", (event) => {
			for (const [name, value] of [...event.formData]) {
				if (value === "") event.formData.delete(name);
			}
		});
	}

	// What an action said once is not said again when the page is loaded again.
	const address = new URL(location.href);
	if (address.searchParams.has("done")) {
		for (const name of ["done", "n", "more"]) address.searchParams.delete(name);
		history.replaceState(null, "", address);
	}

	document.addEventListener("visibilitychange", () => {
		if (document.hidden) return disconnect();
		connect();
		refresh();
	});
	window.addEventListener("pagehide", disconnect);
	window.addEventListener("pageshow", (event) => {
		if (event.persisted) connect();
	});
	connect();
})();
