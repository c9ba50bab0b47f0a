// The form that issues an entitlement: it asks for the terms of the chosen feature's kind, and offers what the chosen
// customer may have.
(function ($) {
  "use strict";

  function showTerms() {
    const feature = document.getElementById("id_feature");
    const kind = JSON.parse(feature.dataset.kinds)[feature.value];
    for (const each of ["metered", "static"]) {
      const terms = document.querySelector("fieldset.mg-kind-" + each);
      terms.hidden = each !== kind;
      // What is not shown is not sent.
      terms.disabled = terms.hidden;
    }
  }

  async function offer() {
    const customer = document.getElementById("id_customer").value;
    const answer = await fetch(location.pathname + "?customer=" + encodeURIComponent(customer));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const name of ["id_feature", "id_subscription"]) {
      const field = document.getElementById(name);
      const offered = page.getElementById(name);
      const chosen = field.value;
      field.dataset.kinds = offered.dataset.kinds || "{}";
      field.replaceChildren(...offered.options);
      field.value = [...field.options].some((option) => option.value === chosen) ? chosen : "";
    }
    showTerms();
  }

  $(function () {
    // The admin's search field tells jQuery of what is chosen, and nobody else.
    $("#id_customer").on("change", offer);
    $("#id_feature").on("change", showTerms);
    showTerms();
  });
})(django.jQuery);
