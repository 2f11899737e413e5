//! Renders an ad as a VAST 4.2 document.

use std::time::Duration;

use axum::body::Bytes;
use click_store::Media;
use proto_schemas::AdId;
use quick_xml::{
    Writer,
    events::{BytesCData, BytesDecl, BytesText, Event},
};
use uuid::Uuid;

use super::tracking::Tracking;

/// The namespace of the published schema.
const NAMESPACE: &str = "http://www.iab.com/VAST";

/// Who serves the ad, as far as players are told.
const AD_SYSTEM: &str = "Video-ad click tracking";

/// One ad, served once.
pub(super) struct Document<'a> {
    pub(super) ad: AdId,
    pub(super) title: Option<&'a str>,
    pub(super) target_url: &'a str,
    pub(super) media: &'a Media,
    /// Never the same for two documents.
    pub(super) serving: Uuid,
    pub(super) tracking: &'a Tracking,
}

impl Document<'_> {
    /// The elements stand in the order that the schema prescribes.
    pub(super) fn render(&self) -> Bytes {
        let mut xml = Xml(Writer::new(Vec::with_capacity(2048)));
        xml.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        xml.element("VAST", &[("version", "4.2"), ("xmlns", NAMESPACE)], |xml| {
            xml.element("Ad", &[("id", &self.ad.to_string()), ("adType", "video")], |xml| {
                xml.element("InLine", &[], |xml| self.in_line(xml));
            });
        });
        xml.0.into_inner().into()
    }

    fn in_line(&self, xml: &mut Xml) {
        let title = self.title.map_or_else(|| format!("Ad {}", self.ad), str::to_owned);
        xml.text("AdSystem", &[("version", env!("CARGO_PKG_VERSION"))], AD_SYSTEM);
        xml.url("Impression", &[], &self.tracking.impression);
        xml.text("AdServingId", &[], &self.serving.to_string());
        xml.text("AdTitle", &[], &title);
        xml.element("Creatives", &[], |xml| {
            xml.element("Creative", &[("id", &self.ad.to_string())], |xml| {
                xml.element("Linear", &[], |xml| self.linear(xml));
                // What the schema prescribes for an ad that is in no registry.
                xml.text("UniversalAdId", &[("idRegistry", "unknown")], "unknown");
            });
        });
    }

    fn linear(&self, xml: &mut Xml) {
        let Media { url, media_type, duration, width, height } = self.media;
        xml.text("Duration", &[], &time_of_day(*duration));
        xml.element("MediaFiles", &[], |xml| {
            let attributes = [
                ("delivery", delivery(media_type)),
                ("type", media_type),
                ("width", &width.to_string()),
                ("height", &height.to_string()),
            ];
            xml.url("MediaFile", &attributes, url);
        });
        xml.element("VideoClicks", &[], |xml| {
            xml.url("ClickTracking", &[], &self.tracking.click);
            xml.url("ClickThrough", &[], self.target_url);
        });
    }
}

/// Writes XML into memory, which cannot fail.
struct Xml(Writer<Vec<u8>>);

type Attributes<'a> = [(&'a str, &'a str)];

impl Xml {
    fn element(&mut self, name: &str, attributes: &Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        let clean: Vec<_> =
            attributes.iter().map(|(name, value)| (*name, allowed(value))).collect();
        let start = quick_xml::events::BytesStart::new(name)
            .with_attributes(clean.iter().map(|(name, value)| (*name, value.as_str())));
        let end = start.to_end().into_owned();
        self.event(Event::Start(start.borrow()));
        inside(self);
        self.event(Event::End(end));
    }

    fn text(&mut self, name: &str, attributes: &Attributes<'_>, text: &str) {
        let text = allowed(text);
        self.element(name, attributes, |xml| xml.event(Event::Text(BytesText::new(&text))));
    }

    /// A URL stands in CDATA, as players are used to.
    fn url(&mut self, name: &str, attributes: &Attributes<'_>, url: &str) {
        let url = allowed(url);
        self.element(name, attributes, |xml| {
            // More than one where the text holds the end of such a section.
            for section in BytesCData::escaped(&url) {
                xml.event(Event::CData(section));
            }
        });
    }

    fn event(&mut self, event: Event<'_>) {
        let Ok(()) = self.0.write_event(event) else { unreachable!("memory takes every write") };
    }
}

/// The text without what no XML document may hold, whatever is in the database.
fn allowed(text: &str) -> String {
    let is_allowed = |it: char| match it {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        it => it >= ' ',
    };
    text.chars().map(|it| if is_allowed(it) { it } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// How a player gets the file: at once, or piece by piece by a manifest.
fn delivery(media_type: &str) -> &'static str {
    let manifests =
        ["application/dash+xml", "application/vnd.apple.mpegurl", "application/x-mpegurl"];
    if manifests.contains(&media_type.to_ascii_lowercase().as_str()) {
        "streaming"
    } else {
        "progressive"
    }
}

/// `HH:MM:SS.mmm`.
fn time_of_day(duration: Duration) -> String {
    let (seconds, ms) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media() -> Media {
        Media {
            url: "https://e.com/1.mp4?a=1&b=2".to_owned(),
            media_type: "video/mp4".to_owned(),
            duration: Duration::from_millis(3_675_040),
            width: 1280,
            height: 720,
        }
    }

    fn render(title: Option<&str>, target_url: &str, media: &Media) -> String {
        let tracking = Tracking {
            impression: "https://in.example/ads/impression.gif?a=1&b=2".to_owned(),
            click: "https://in.example/ads/click.gif?a=1&b=2".to_owned(),
        };
        let document = Document {
            ad: AdId::new(7).expect("in range"),
            title,
            target_url,
            media,
            serving: Uuid::from_u128(1),
            tracking: &tracking,
        };
        String::from_utf8(document.render().to_vec()).expect("UTF-8")
    }

    #[test]
    fn an_ad_is_rendered_in_the_order_of_the_schema() {
        let xml = render(Some("<Spring> & \"more\""), "https://e.com/?a=1&b=2", &media());

        let version = env!("CARGO_PKG_VERSION");
        let expected = [
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<VAST version="4.2" xmlns="http://www.iab.com/VAST">"#,
            r#"<Ad id="7" adType="video"><InLine>"#,
            &format!(r#"<AdSystem version="{version}">Video-ad click tracking</AdSystem>"#),
            "<Impression><![CDATA[https://in.example/ads/impression.gif?a=1&b=2]]></Impression>",
            "<AdServingId>00000000-0000-0000-0000-000000000001</AdServingId>",
            "<AdTitle>&lt;Spring&gt; &amp; &quot;more&quot;</AdTitle>",
            r#"<Creatives><Creative id="7"><Linear>"#,
            "<Duration>01:01:15.040</Duration>",
            "<MediaFiles>",
            r#"<MediaFile delivery="progressive" type="video/mp4" width="1280" height="720">"#,
            "<![CDATA[https://e.com/1.mp4?a=1&b=2]]></MediaFile>",
            "</MediaFiles>",
            "<VideoClicks>",
            "<ClickTracking><![CDATA[https://in.example/ads/click.gif?a=1&b=2]]></ClickTracking>",
            "<ClickThrough><![CDATA[https://e.com/?a=1&b=2]]></ClickThrough>",
            "</VideoClicks></Linear>",
            r#"<UniversalAdId idRegistry="unknown">unknown</UniversalAdId>"#,
            "</Creative></Creatives></InLine></Ad></VAST>",
        ];
        assert_eq!(xml, expected.concat());
    }

    #[test]
    fn an_ad_without_a_title_is_called_by_its_number() {
        assert!(render(None, "https://e.com/", &media()).contains("<AdTitle>Ad 7</AdTitle>"));
    }

    #[test]
    fn a_manifest_is_streamed() {
        let hls = Media { media_type: "application/vnd.apple.MPEGURL".to_owned(), ..media() };
        assert!(render(None, "https://e.com/", &hls).contains(r#"delivery="streaming""#));
    }

    #[test]
    fn whatever_is_in_the_database_the_document_is_well_formed() {
        let evil = "]]><script/>\u{0}\u{b}\u{ffff}&<>\"'\u{1f3ac}";
        let media = Media { url: evil.to_owned(), media_type: evil.to_owned(), ..media() };
        let xml = render(Some(evil), evil, &media);

        let mut reader = quick_xml::Reader::from_str(&xml);
        let mut sections = String::new();
        loop {
            match reader.read_event().expect("well formed") {
                Event::Eof => break,
                Event::Start(it) => assert_ne!(it.name().as_ref(), "script"),
                Event::Empty(it) => panic!("{it:?}"),
                Event::CData(it) => sections.push_str(&it),
                _ => {}
            }
        }
        assert!(!xml.contains(['\u{0}', '\u{b}', '\u{ffff}']));
        assert!(sections.contains("]]><script/>\u{fffd}\u{fffd}\u{fffd}&<>\"'\u{1f3ac}"));
    }
}
